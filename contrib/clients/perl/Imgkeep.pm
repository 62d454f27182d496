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

# Secrets that stand in examples.
my %WELL_KNOWN = map { $_ => 1 }
    qw(changeme change-me secret password example imgkeep 0123456789abcdef 1234567890123456);

# new(base => …, secret => …, bucket => 'i', allow_weak_secret => 0). base is what
# stands before a link, and may be left out. secret may be all that the server's
# file holds: one line end at the end does not count, spaces do. bucket is that of
# links which name no other. allow_weak_secret accepts a secret that is short or
# well known, for tests. It croaks at what the server would refuse.
sub new {
    my ($class, %o) = @_;
    my $secret = delete $o{secret};
    my $base   = delete $o{base} // '';
    my $bucket = delete $o{bucket} // 'i';
    my $weak   = delete $o{allow_weak_secret};
    croak 'imgkeep: unknown option ' . join ', ', sort keys %o if %o;
    croak qq{imgkeep: base "$base": want one as https://img.example.net, or none}
        if $base !~ m{\A(?:(?:https?:)?//[a-z0-9._:\[\]-]+)?(?:/[a-z0-9._~%-]*)*\z}ai;
    $base =~ s{/+\z}{};
    return bless { base => $base, bucket => $bucket, secret => _parse_secret($secret // '', $weak) }, $class;
}

# The secret in a text, in bytes: what the server makes of the same text. No error
# shows it.
sub _parse_secret {
    my ($text, $allow_weak) = @_;
    $text =~ s/(?:\r?\n|\r)\z//;
    my $secret = encode_utf8($text);
    (my $trimmed = lc $text) =~ s/\A\s+|\s+\z//gu;
    my $why =
          $secret eq ''                ? 'the secret is empty'
        : length $secret > 4096        ? 'the secret has more than 4096 bytes'
        : $text =~ /[\x{d800}-\x{dfff}]/                          ? 'the secret has no UTF-8'
        : $text =~ /[\x00-\x1f\x7f-\x9f]/ ? 'the secret is not one line of text'
        : $allow_weak                  ? ''
        : length $secret < 16          ? 'weak secret: it has ' . length($secret) . ' bytes, fewer than 16'
        : $WELL_KNOWN{$trimmed}        ? 'weak secret: it is a well-known one'
        : $secret =~ /\A(.)\1*\z/s     ? 'weak secret: it repeats one character'
        :                                '';
    croak "imgkeep: $why; `openssl rand -base64 32` makes a good one" if $why;
    return $secret;
}

# Refuses what no server would serve, whatever its configuration.
sub _check {
    my ($url, $size, $bucket, $proxy) = @_;
    my $lengths = qr/[1-9][0-9]{0,4}x(?:[1-9][0-9]{0,4})?|x[1-9][0-9]{0,4}/;
    my $preset  = qr/(?![0-9]*x[0-9]*\z)[a-z][a-z0-9_-]{0,22}/;    # full and info have its form
    croak qq{imgkeep: bucket "$bucket": want 1 to 16 of a-z and 0-9} if $bucket !~ /\A[a-z0-9]{1,16}\z/;
    croak qq{imgkeep: size "$size": want full, info, height x width as in 250x250, 150x, x200, or the name of a preset}
        if $size !~ /\A(?:$lengths|$preset)\z/;
    croak 'imgkeep: what is not stored has the size full only' if $proxy && $size ne 'full';
    croak 'imgkeep: the URL is empty' if !defined $url || $url eq '';
    croak 'imgkeep: the URL holds a control character' if $url =~ /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/;
    return;
}

# link($url, size => 'full', bucket => …, proxy => 0, at => time). size is full,
# info, or height x width as in 250x250, 150x, x200. proxy serves the image and
# does not store it; the size is full then. at is the unix time of signing. It
# croaks at what every server would refuse.
sub link {
    my ($self, $url, %o) = @_;
    my $size   = delete $o{size} // 'full';
    my $bucket = delete $o{bucket} // $self->{bucket};
    my $proxy  = delete $o{proxy};
    my $at     = delete $o{at} // time;
    croak 'imgkeep: unknown option ' . join ', ', sort keys %o if %o;
    _check($url, $size, $bucket, $proxy);

    my $ext = encode_base64url(encode_utf8($url)) . ($proxy ? '/proxy' : '');
    # %G is the year that the ISO week belongs to, not the calendar's; weeks
    # begin in UTC.
    my $key       = $self->{secret} . strftime('%G%V', gmtime $at);
    my $signature = encode_base64url(substr hmac_sha256(encode_utf8("$bucket/$ext"), $key), 0, 12);
    my $path = "/$bucket/$size/$signature/$ext";
    croak 'imgkeep: the URL is too long: a link has at most 4096 bytes' if length $path > 4096;
    return $self->{base} . $path;
}

# tagged($url, $by) is the URL of an image with a tag that says for whom its link is
# signed, such as the number of a member: what link is to be called with. Then
# `imgkeep list --by` finds all images of the member. Anybody can read the tag in the
# link; nobody else can make one. It croaks at what cannot be a tag.
sub tagged {
    my ($self, $url, $by) = @_;
    croak 'imgkeep: tag "' . ($by // '') . '": want 1 to 64 of A-Z, a-z, 0-9, _ and -'
        if !defined $by || $by !~ /\A[A-Za-z0-9_-]{1,64}\z/;
    $url =~ s/#.*//s;
    my $mac = substr hmac_sha256(encode_utf8("imgkeep by\n$by\n$url"), $self->{secret}), 0, 12;
    return "$url#imgkeep-by=$by." . encode_base64url($mac);
}

1;
