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
    private string $base;

    /**
     * @param string $base   what stands before a link, as "https://img.example.net"; may be empty
     * @param string $secret the secret that the server has too (its first, while one is being changed)
     * @param string $bucket the bucket of links that name no other
     */
    public function __construct(
        string $base,
        private string $secret,
        private string $bucket = 'i',
    ) {
        if ($secret === '') {
            throw new InvalidArgumentException('imgkeep: the secret is empty');
        }
        $this->base = rtrim($base, '/');
    }

    /**
     * The link of an image.
     *
     * @param string      $url    of the image, as its bytes stand in the post; not escaped for HTML
     * @param string      $size   full, info, or height x width as in 250x250, 150x, x200
     * @param string|null $bucket another bucket than the constructor's
     * @param bool        $proxy  serve the image, but do not store it; size is full then
     * @param int|null    $at     unix time of signing; null: now
     */
    public function link(string $url, string $size = 'full', ?string $bucket = null, bool $proxy = false, ?int $at = null): string
    {
        if ($proxy && $size !== 'full') {
            throw new InvalidArgumentException('imgkeep: what is not stored has the size full only');
        }
        $bucket ??= $this->bucket;
        $ext = self::base64url($url) . ($proxy ? '/proxy' : '');
        // 'o' is the year that the week belongs to; 'Y' would break the links of
        // some days around New Year. gmdate, as weeks begin in UTC.
        $key = $this->secret . gmdate('oW', $at ?? time());
        $signature = self::base64url(substr(hash_hmac('sha256', "$bucket/$ext", $key, true), 0, 12));
        return "$this->base/$bucket/$size/$signature/$ext";
    }

    /** What print_r and var_dump show: not the secret. */
    public function __debugInfo(): array
    {
        return ['base' => $this->base, 'bucket' => $this->bucket, 'secret' => '(hidden)'];
    }

    private static function base64url(string $bytes): string
    {
        return rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
    }
}
