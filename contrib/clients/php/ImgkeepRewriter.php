<?php

require_once __DIR__ . '/Imgkeep.php';

/**
 * An example for a forum: turns the images of a post into signed links, in BBCode
 * before it is rendered, or in HTML after it was rendered and made safe.
 *
 * It is no filter: it makes no HTML safe that was not. Posts are stored as their
 * authors wrote them, and rewritten each time they are shown, since links expire.
 * A page that is cached for longer than a week shows images that are gone.
 */
final class ImgkeepRewriter
{
    /**
     * @param string   $size of images in posts
     * @param string[] $own  hosts whose images stay as they are, in lower case: the site's own
     */
    public function __construct(private Imgkeep $imgkeep, private string $size = 'full', private array $own = [])
    {
    }

    /** Rewrites [img]URL[/img] and [img=URL]. */
    public function bbcode(string $post): string
    {
        $post = preg_replace_callback(
            '~\[img\]\s*([^\[\]\s]+)\s*\[/img\]~i',
            fn (array $m): string => '[img]' . $this->rewrite($m[1]) . '[/img]',
            $post,
        ) ?? $post;
        return preg_replace_callback(
            '~\[img=\s*([^\[\]\s]+)\s*\]~i',
            fn (array $m): string => '[img=' . $this->rewrite($m[1]) . ']',
            $post,
        ) ?? $post;
    }

    /**
     * Rewrites the src of <img> whose values are quoted, as in all HTML that a
     * template wrote. srcset goes: it would lead browsers past imgkeep.
     */
    public function html(string $html): string
    {
        // A value may hold ">": tags are read with their quotes.
        return preg_replace_callback('~<img\b(?:[^"\'>]|"[^"]*"|\'[^\']*\')*>~i', function (array $tag): string {
            $rewritten = false;
            $out = preg_replace_callback('~(\ssrc\s*=\s*)("[^"]*"|\'[^\']*\')~i', function (array $m) use (&$rewritten): string {
                $url = html_entity_decode(substr($m[2], 1, -1), ENT_QUOTES | ENT_HTML5, 'UTF-8');
                $link = $this->rewrite($url);
                if ($link === $url) {
                    return $m[0];
                }
                $rewritten = true;
                return $m[1] . '"' . htmlspecialchars($link, ENT_QUOTES | ENT_HTML5, 'UTF-8') . '"';
            }, $tag[0], 1) ?? $tag[0];
            return $rewritten ? preg_replace('~\ssrcset\s*=\s*("[^"]*"|\'[^\']*\')~i', '', $out) ?? $out : $out;
        }, $html) ?? $html;
    }

    /** The link of an image's URL, or the URL itself where it is no other site's. */
    private function rewrite(string $url): string
    {
        $url = trim($url);
        if (str_starts_with($url, '//')) {
            $url = "https:$url";
        }
        if (!preg_match('~^https?://~i', $url)) {
            return $url; // of this site, or data:, which is no matter of imgkeep's
        }
        $host = parse_url($url, PHP_URL_HOST);
        if (is_string($host) && in_array(strtolower($host), $this->own, true)) {
            return $url;
        }
        return $this->imgkeep->link($url, $this->size);
    }
}
