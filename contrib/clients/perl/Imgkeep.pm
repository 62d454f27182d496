package Imgkeep;

# Signs links to images that imgkeep serves. Perl 5.14 or later, and modules that
# come with it.
#
#     my $imgkeep = Imgkeep->new(base => 'https://img.example.net', secret => $secret);
#     print $imgkeep->link('https://example.com/cat.jpg', size => '250x250');
#
# Secret and URL are text: decode them first where they come as bytes.

use strict;
use warnings;

use Carp qw(croak);
use Digest::SHA qw(hmac_sha256);
use Encode qw(encode_utf8);
use MIME::Base64 qw(encode_base64url);
use POSIX qw(strftime);

our $VERSION = '1.0';

# new(base => …, secret => …, bucket => 'i'). base is what stands before a link,
# and may be left out; bucket is that of links which name no other.
sub new {
    my ($class, %o) = @_;
    my $secret = delete $o{secret};
    my $base   = delete $o{base} // '';
    my $bucket = delete $o{bucket} // 'i';
    croak 'imgkeep: the secret is empty' if !defined $secret || $secret eq '';
    croak 'imgkeep: unknown option ' . join ', ', sort keys %o if %o;
    $base =~ s{/+\z}{};
    return bless { base => $base, bucket => $bucket, secret => encode_utf8($secret) }, $class;
}

# link($url, size => 'full', bucket => …, proxy => 0, at => time). size is full,
# info, or height x width as in 250x250, 150x, x200. proxy serves the image and
# does not store it; the size is full then. at is the unix time of signing.
sub link {
    my ($self, $url, %o) = @_;
    my $size   = delete $o{size} // 'full';
    my $bucket = delete $o{bucket} // $self->{bucket};
    my $proxy  = delete $o{proxy};
    my $at     = delete $o{at} // time;
    croak 'imgkeep: unknown option ' . join ', ', sort keys %o if %o;
    croak 'imgkeep: what is not stored has the size full only' if $proxy && $size ne 'full';

    my $ext = encode_base64url(encode_utf8($url)) . ($proxy ? '/proxy' : '');
    # %G is the year that the ISO week belongs to, not the calendar's; weeks
    # begin in UTC.
    my $key       = $self->{secret} . strftime('%G%V', gmtime $at);
    my $signature = encode_base64url(substr hmac_sha256(encode_utf8("$bucket/$ext"), $key), 0, 12);
    return "$self->{base}/$bucket/$size/$signature/$ext";
}

1;
