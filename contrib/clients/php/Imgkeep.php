<?php

/**
 * Signs links to images that imgkeep serves. PHP 8.0 or later, no extensions
 * but those that every PHP has.
 *
 *     $imgkeep = new Imgkeep('https://img.example.net', $secret);
 *     echo $imgkeep->link('https://example.com/cat.jpg', '250x250');
 */
final class Imgkeep
{
    /** Secrets that stand in examples. */
    private const WELL_KNOWN = ['changeme', 'change-me', 'secret', 'password', 'example', 'imgkeep', '0123456789abcdef', '1234567890123456'];

    private string $base;

    private string $secret;

    /**
     * @param string $base   what stands before a link, as "https://img.example.net"; may be empty
     * @param string $secret the secret that the server has too (its first, while one is being changed), or
     *                       all that its file holds: one line end at the end does not count, spaces do
     * @param string $bucket the bucket of links that name no other
     * @param bool   $allowWeakSecret accept one that is short or well known, for tests
     * @throws InvalidArgumentException where the server would refuse the secret, or the base is none
     */
    public function __construct(
        string $base,
        #[SensitiveParameter] string $secret,
        private string $bucket = 'i',
        bool $allowWeakSecret = false,
    ) {
        if (!preg_match('~^(?:(?:https?:)?//[a-z0-9._:\[\]-]+)?(?:/[a-z0-9._\~%-]*)*\z~i', $base)) {
            throw new InvalidArgumentException("imgkeep: base \"$base\": want one as https://img.example.net, or none");
        }
        $this->base = rtrim($base, '/');
        $this->secret = self::secret($secret, $allowWeakSecret);
    }

    /** What stands before links, without a slash at its end. */
    public function base(): string
    {
        return $this->base;
    }

    /**
     * The link of an image.
     *
     * @param string      $url    of the image, as its bytes stand in the post; not escaped for HTML
     * @param string      $size   full, info, or height x width as in 250x250, 150x, x200
     * @param string|null $bucket another bucket than the constructor's
     * @param bool        $proxy  serve the image, but do not store it; size is full then
     * @param int|null    $at     unix time of signing; null: now
     * @throws InvalidArgumentException where every server would refuse the link
     */
    public function link(string $url, string $size = 'full', ?string $bucket = null, bool $proxy = false, ?int $at = null): string
    {
        $bucket ??= $this->bucket;
        self::check($url, $size, $bucket, $proxy);
        $ext = self::base64url($url) . ($proxy ? '/proxy' : '');
        // 'o' is the year that the week belongs to; 'Y' would break the links of
        // some days around New Year. gmdate, as weeks begin in UTC.
        $key = $this->secret . gmdate('oW', $at ?? time());
        $signature = self::base64url(substr(hash_hmac('sha256', "$bucket/$ext", $key, true), 0, 12));
        $path = "/$bucket/$size/$signature/$ext";
        if (strlen($path) > 4096) {
            throw new InvalidArgumentException('imgkeep: the URL is too long: a link has at most 4096 bytes');
        }
        return $this->base . $path;
    }

    /**
     * The URL of an image with a tag that says for whom its link is signed, such as the
     * number of a member: what link() is to be called with. Then `imgkeep list --by` finds
     * all images of the member. Anybody can read the tag in the link; nobody else can make
     * one.
     *
     * @throws InvalidArgumentException where $by cannot be a tag
     */
    public function tagged(string $url, string $by): string
    {
        if (!preg_match('~^[A-Za-z0-9_-]{1,64}\z~', $by)) {
            throw new InvalidArgumentException("imgkeep: tag \"$by\": want 1 to 64 of A-Z, a-z, 0-9, _ and -");
        }
        $url = explode('#', $url, 2)[0];
        $mac = substr(hash_hmac('sha256', "imgkeep by\n$by\n$url", $this->secret, true), 0, 12);
        return "$url#imgkeep-by=$by." . self::base64url($mac);
    }

    /** What print_r and var_dump show: not the secret. */
    public function __debugInfo(): array
    {
        return ['base' => $this->base, 'bucket' => $this->bucket, 'secret' => '(hidden)'];
    }

    /** The secret in a text: what the server makes of the same text. No error shows it. */
    private static function secret(#[SensitiveParameter] string $text, bool $allowWeak): string
    {
        $secret = preg_replace('~\r?\n\z|\r\z~', '', $text);
        $why = match (true) {
            $secret === '' => 'the secret is empty',
            strlen($secret) > 4096 => 'the secret has more than 4096 bytes',
            !preg_match('~~u', $secret) => 'the secret is not UTF-8',
            preg_match('~[\x00-\x1f\x7f]|\xc2[\x80-\x9f]~', $secret) === 1 => 'the secret is not one line of text',
            $allowWeak => '',
            strlen($secret) < 16 => 'weak secret: it has ' . strlen($secret) . ' bytes, fewer than 16',
            in_array(strtolower(preg_replace('~^[\pZ\s]+|[\pZ\s]+\z~u', '', $secret)), self::WELL_KNOWN, true) => 'weak secret: it is a well-known one',
            strlen(count_chars($secret, 3)) === 1 => 'weak secret: it repeats one character',
            default => '',
        };
        if ($why !== '') {
            throw new InvalidArgumentException("imgkeep: $why; `openssl rand -base64 32` makes a good one");
        }
        return $secret;
    }

    /** Refuses what no server would serve, whatever its configuration. */
    private static function check(string $url, string $size, string $bucket, bool $proxy): void
    {
        $lengths = '(?:[1-9][0-9]{0,4}x(?:[1-9][0-9]{0,4})?|x[1-9][0-9]{0,4})';
        $preset = '(?![0-9]*x[0-9]*\z)[a-z][a-z0-9_-]{0,22}'; // full and info have its form
        $why = match (true) {
            !preg_match('~^[a-z0-9]{1,16}\z~', $bucket) => "bucket \"$bucket\": want 1 to 16 of a-z and 0-9",
            !preg_match("~^(?:$lengths|$preset)\\z~", $size) => "size \"$size\": want full, info, height x width as in 250x250, 150x, x200, or the name of a preset",
            $proxy && $size !== 'full' => 'what is not stored has the size full only',
            $url === '' => 'the URL is empty',
            preg_match('~[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]~', $url) === 1 => 'the URL holds a control character',
            default => '',
        };
        if ($why !== '') {
            throw new InvalidArgumentException("imgkeep: $why");
        }
    }

    private static function base64url(string $bytes): string
    {
        return rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
    }
}
