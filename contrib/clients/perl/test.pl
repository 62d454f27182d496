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
my $cases = JSON::PP->new->utf8->decode(do { local $/; <$file> });
my $vectors = $cases->{vectors};
my @made = grep { !$_->{bucketless} } @$vectors;           # no client makes the older scheme
for my $v (@made) {
    my $got = Imgkeep->new(secret => $v->{secret}, allow_weak_secret => 1)->link(
        $v->{url}, size => $v->{size}, bucket => $v->{bucket}, proxy => $v->{proxy}, at => $v->{time},
    );
    same($v->{name}, $got, $v->{link});
}

sub refused {
    my ($what, $call) = @_;
    same($what, 'accepted', 'refused') if eval { $call->(); 1 };
}
for my $c (@{ $cases->{secrets} }) {
    my $sign = sub { Imgkeep->new(secret => $c->{text})->link($vectors->[0]{url}, at => $vectors->[0]{time}) };
    if ($c->{link} eq '') { refused("secret: $c->{name}", $sign) }
    else                  { same("secret: $c->{name}", $sign->(), $c->{link}) }
}
my $good = 'a long enough secret';
for my $c (@{ $cases->{links} }) {
    my $sign = sub { Imgkeep->new(secret => $good)->link($c->{url}, size => $c->{size}, bucket => $c->{bucket}, proxy => $c->{proxy}) };
    if ($c->{refused}) { refused($c->{name}, $sign) }
    else               { $sign->() }
}
for my $c (@{ $cases->{tags} }) {
    my $tagged = sub { Imgkeep->new(secret => $c->{secret})->tagged($c->{url}, $c->{by}) };
    if ($c->{tagged} eq '') { refused("tag: $c->{name}", $tagged) }
    else                    { same("tag: $c->{name}", $tagged->(), $c->{tagged}) }
}
refused('no tag', sub { Imgkeep->new(secret => $good)->tagged('https://example.com/', undef) });
for my $base ('img.example.net', 'https://img.example.net/?a=1', 'https://img.example.net/"', "https://img.example.net\n") {
    refused("base $base", sub { Imgkeep->new(base => $base, secret => $good) });
}
refused('no URL', sub { Imgkeep->new(secret => $good)->link(undef) });
refused('no secret',       sub { Imgkeep->new(base => 'https://img.example.net') });
refused('a misspelt option', sub { Imgkeep->new(secret => $good)->link('https://example.com/', sise => '150x') });
my $other = Imgkeep->new(base => 'https://img.example.net/', secret => '1234', bucket => 'f', allow_weak_secret => 1);
same('base and bucket', substr($other->link('https://example.com/'), 0, 31), 'https://img.example.net/f/full/');

exit 1 if $failed;
print @made + @{ $cases->{secrets} } + @{ $cases->{links} } + @{ $cases->{tags} } . " cases\n";
