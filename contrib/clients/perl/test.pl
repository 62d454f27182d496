# perl test.pl ../vectors.json: compares the links with the vectors.

use strict;
use warnings;

use FindBin;
use JSON::PP ();
use lib $FindBin::Bin;
use POSIX ();

BEGIN { $ENV{TZ} = 'Pacific/Auckland'; POSIX::tzset() }    # of the site: links do not depend on it

use Imgkeep;

my $failed = 0;
sub same {
    my ($what, $got, $want) = @_;
    return if $got eq $want;
    binmode STDERR, ':utf8';
    print STDERR "$what:\n  got  $got\n  want $want\n";
    $failed++;
}

open my $file, '<:raw', $ARGV[0] or die "$ARGV[0]: $!\n";
my $vectors = JSON::PP->new->utf8->decode(do { local $/; <$file> })->{vectors};
my @made = grep { !$_->{bucketless} } @$vectors;           # no client makes the older scheme
for my $v (@made) {
    my $got = Imgkeep->new(secret => $v->{secret})->link(
        $v->{url}, size => $v->{size}, bucket => $v->{bucket}, proxy => $v->{proxy}, at => $v->{time},
    );
    same($v->{name}, $got, $v->{link});
}

sub refused {
    my ($what, $call) = @_;
    same($what, 'accepted', 'refused') if eval { $call->(); 1 };
}
refused('an empty secret', sub { Imgkeep->new(secret => '') });
refused('no secret',       sub { Imgkeep->new(base => 'https://img.example.net') });
refused('a misspelt option', sub { Imgkeep->new(secret => 's')->link('https://example.com/', sise => '150x') });
refused('a size of what is not stored', sub { Imgkeep->new(secret => 's')->link('https://example.com/', size => '150x', proxy => 1) });
my $other = Imgkeep->new(base => 'https://img.example.net/', secret => '1234', bucket => 'f');
same('base and bucket', substr($other->link('https://example.com/'), 0, 31), 'https://img.example.net/f/full/');

exit 1 if $failed;
print scalar(@made) . " vectors\n";
