<?php

require_once __DIR__ . '/Imgkeep.php';
require_once __DIR__ . '/ImgkeepHtml.php';

/**
 * Turns the images of a forum's post into signed links: in BBCode before it is
 * rendered, in HTML after it was rendered and made safe, in what phpBB stores.
 *
 * What it promises: no image tag of another site's host is left, in any of the
 * spellings that browsers and forums know; nothing else changes by a byte; what
 * has been rewritten stays as it is when it is rewritten again; the time grows
 * with the length of the post, whatever stands in it.
 *
 * What not: it is no filter and makes no HTML safe that was not; scripts, foreign
 * style sheets, fonts, frames and media may load what they like. A
 * Content-Security-Policy shows what is missed.
 *
 * HTML is read by the rules of the WHATWG's tokenizer, as browsers do. PHP's DOM
 * does not before PHP 8.4 (it is libxml2's HTML 4), and knows no positions, so that
 * it could not leave the rest as it is. In BBCode, forums differ; where a post can
 * be read in two ways, the images of both readings are rewritten.
 *
 * Posts are stored as their authors wrote them, and rewritten each time they are
 * shown, since links expire. rewriter.mjs is the same in JavaScript.
 */
final class ImgkeepRewriter
{
    /** BBCodes whose content forums show as it was written. */
    public const VERBATIM = ['code', 'php', 'html', 'sql', 'xml', 'plain', 'noparse', 'nobbc', 'pre', 'icode', 'inlinecode', 'codebox', 'highlight', 'tex'];

    /** BBCodes of images. */
    public const IMAGES = ['img', 'img2', 'image', 'imgl', 'imgr', 'imgleft', 'imgright', 'imgnu', 'imgw', 'limg', 'rimg', 'thumb', 'thumbnail', 'timg'];

    /** What stands in the place of a foreign URL that no link can hold. It shows a broken image. */
    private const NOTHING = 'data:,';

    private const SPACE = "\t\n\f\r ";
    private const LETTERS = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
    private const DIGITS = '0123456789';

    /** Attributes of BBCodes of images, and keys of their JSON, that hold URLs. */
    private const BBCODE_URLS = ['src', 'url', 'data-src', 'data-url', 'thumb', 'thumbnail', 'image', 'content'];

    /** @var array<string, true> */
    private array $own, $verbatim, $images;

    /** The member whose posts are rewritten; null: links do not say for whom they are signed. */
    private ?string $by = null;

    /** @var array<string, ?string> links of URLs as they stand in the post */
    private array $links = [];

    /** @var list<array{int, int, string}> what takes the place of which bytes */
    private array $edits = [];

    /** @var array<string, array{int, int}|false> the next closing tag of a BBCode, or its absence */
    private array $closing = [];

    /** @var array<string, true> where the content of which BBCode has been read */
    private array $seen = [];

    /** @var array<string, int> up to where the JSON of which BBCode has been read */
    private array $json = [];

    /**
     * @param string   $size     of images in posts
     * @param string[] $own      hosts whose images stay as they are: the site's own; that of the links is one
     * @param string[] $verbatim BBCodes whose content stays as it is. Name only those that your forum knows:
     *                           it shows the images in others
     * @param string[] $images   BBCodes of images; name those that your forum has besides
     * @throws InvalidArgumentException where every server would refuse the size
     */
    public function __construct(
        private Imgkeep $imgkeep,
        private string $size = 'full',
        array $own = [],
        array $verbatim = self::VERBATIM,
        array $images = self::IMAGES,
    ) {
        $imgkeep->link('https://example.com/', $size); // throws
        if (preg_match('~^(?:https?:)?//(\[[^\]]*\]|[^/:]+)~i', $imgkeep->base(), $m)) {
            $own[] = $m[1];
        }
        $this->own = array_fill_keys(array_map('strtolower', $own), true);
        $this->verbatim = array_fill_keys(array_map('strtolower', $verbatim), true);
        $this->images = array_fill_keys(array_map('strtolower', $images), true);
    }

    /**
     * The same rewriter for the posts of a member, such as by their number: `imgkeep list
     * --by` then finds their images, see Imgkeep::tagged.
     *
     * @throws InvalidArgumentException where $member cannot be a tag
     */
    public function by(string $member): static
    {
        $this->imgkeep->tagged('https://example.com/', $member); // throws
        $copy = clone $this;
        $copy->by = $member;
        $copy->links = [];
        return $copy;
    }

    /**
     * Rewrites the images of BBCode: [img]URL[/img], [img=URL], with a size, with
     * attributes, phpBB 3.0's [img:uid], vBulletin's [IMG2=JSON]. URLs may be
     * escaped as in HTML (SMF and phpBB store them so).
     */
    public function bbcode(string $post): string
    {
        $this->begin();
        $i = $covered = 0;
        $bracket = -1;
        $quotes = ['"' => true, "'" => true];
        while (($i = strpos($post, '[', $i)) !== false) {
            $n = strspn($post, self::LETTERS . self::DIGITS . '_-*', $i + 1);
            $after = $i + 1 + $n;
            $c = $post[$after] ?? '';
            if ($n === 0 || $c === '' || !str_contains(']=:' . self::SPACE, $c)) {
                $i++;
                continue;
            }
            if ($bracket < $after) { // the next one; looked for once, however many tags are open
                $bracket = strpos($post, ']', $after);
                if ($bracket === false) {
                    break; // no tag ends any more
                }
            }
            $name = strtolower(substr($post, $i + 1, min($n, 64)));
            $end = $this->endOfTag($post, $after, $quotes) ?? $bracket;
            $next = $after;
            if (isset($this->verbatim[$name])) {
                // [url="[code]"] opens no code in some forums.
                if ($i >= $covered && ($closing = $this->closing($post, $name, $end + 1)) !== false) {
                    $next = $closing[1];
                }
            } elseif (isset($this->images[$name])) {
                // What is in the URL opens no code either.
                $covered = max($covered, $this->bbcodeImage($post, $name, $after, $bracket, $end));
            }
            if ($c === '=' || $end > $bracket) {
                $covered = max($covered, $end);
            }
            $i = $next;
        }
        return $this->end($post);
    }

    /** Rewrites the images of HTML. */
    public function html(string $html): string
    {
        $this->begin();
        (new ImgkeepHtml(fn (int $from, int $to, string $url): bool => $this->edit($from, $to, $url)))->scan($html);
        return $this->end($html);
    }

    /**
     * Rewrites what phpBB stores: XML since 3.2, of which only attributes count
     * that images are rendered from, so that editing shows what the author wrote;
     * BBCode with uids before.
     */
    public function phpbb(string $stored): string
    {
        if (!preg_match('~^<[rt][ >]~', $stored)) {
            return $this->bbcode($stored);
        }
        $this->begin();
        $i = 0;
        while (($i = strpos($stored, '<', $i)) !== false) {
            if (!str_contains(self::LETTERS, $stored[$i + 1] ?? '-')) {
                $i++;
                continue;
            }
            [$name, $attributes] = ImgkeepHtml::tag($stored, $i, array_flip(self::BBCODE_URLS));
            foreach (isset($this->images[$name]) ? $attributes : [] as $attribute => [$from, $to]) {
                if (in_array($attribute, self::BBCODE_URLS, true)) {
                    $this->edit($from, $to, ImgkeepHtml::decode(substr($stored, $from, $to - $from)));
                }
            }
        }
        return $this->end($stored);
    }

    private function begin(): void
    {
        $this->edits = $this->closing = $this->links = [];
        $this->seen = $this->json = [];
    }

    private function end(string $post): string
    {
        usort($this->edits, fn (array $a, array $b): int => $a[0] <=> $b[0]);
        $out = [];
        $at = 0;
        foreach ($this->edits as [$from, $to, $link]) {
            if ($from < $at) {
                continue; // in a place that is rewritten already, by another reading
            }
            $out[] = substr($post, $at, $from - $at);
            $out[] = $link;
            $at = $to;
        }
        $out[] = substr($post, $at);
        $this->edits = [];
        return implode('', $out);
    }

    /** Notes that a URL stands from one byte to another. */
    private function edit(int $from, int $to, string $url): bool
    {
        $link = $this->links[$url] ?? ($this->links[$url] = $this->link($url) ?? '');
        if ($link === '') {
            return false;
        }
        $this->edits[] = [$from, $to, $link];
        return true;
    }

    /** The link of an image's URL, which is read as browsers read it; null where it is no other site's. */
    private function link(string $url): ?string
    {
        $url = str_replace(["\t", "\n", "\r"], '', trim($url, "\x00..\x20"));
        if (!preg_match('~^(?:(https?):[/\\\\]*|[/\\\\]{2,})([^/\\\\?#]*)([^?#]*)~i', $url, $m)) {
            return null; // of this site, or data:, which is no matter of imgkeep's
        }
        [$all, $scheme, $host, $path] = $m;
        $host = substr($host, (int) strrpos("@$host", '@')); // no link holds a user name
        $name = rawurldecode(strtolower(preg_replace('~:[0-9]*\z~', '', $host)));
        if ($name === '' || isset($this->own[$name])) {
            return null;
        }
        $clean = ($scheme === '' ? 'https' : strtolower($scheme)) . "://$host" . strtr($path, '\\', '/') . substr($url, strlen($all));
        $clean = preg_replace_callback('~[\x00-\x1f\x7f]~', fn (array $c): string => rawurlencode($c[0]), $clean);
        if ($this->by !== null) {
            $clean = $this->imgkeep->tagged($clean, $this->by);
        }
        try {
            return $this->imgkeep->link($clean, $this->size);
        } catch (InvalidArgumentException) {
            return self::NOTHING; // it is too long
        }
    }

    /**
     * Where a tag ends whose attributes are read with their quotes; null where they
     * are malformed. However many tags are open, each byte is read three times at
     * most: runs that begin at different tags are in different states.
     *
     * @param array<string, bool> $quotes whether each quote can still come
     */
    private function endOfTag(string $s, int $i, array &$quotes): ?int
    {
        $c = $s[$i];
        if ($c === ':') {
            $i += strcspn($s, self::SPACE . '=[]"\'', $i);
            $c = $s[$i] ?? '';
        }
        if ($c === '=' && ($i = $this->endOfValue($s, $i + 1, $quotes)) === null) {
            return null;
        }
        while (($gap = strspn($s, self::SPACE, $i)) > 0) {
            $i += $gap;
            $n = strspn($s, self::LETTERS . self::DIGITS . '_-', $i);
            if ($n === 0) {
                break;
            }
            $i += $n;
            if (($s[$i] ?? '') === '=' && ($i = $this->endOfValue($s, $i + 1, $quotes)) === null) {
                return null;
            }
        }
        return ($s[$i] ?? '') === ']' ? $i : null;
    }

    private function endOfValue(string $s, int $i, array &$quotes): ?int
    {
        $quote = $s[$i] ?? '';
        if ($quote !== '"' && $quote !== "'") {
            return $i + strcspn($s, self::SPACE . '[]"\'', $i);
        }
        $end = $quotes[$quote] ? strpos($s, $quote, $i + 1) : false;
        $quotes[$quote] = $end !== false;
        return $end === false ? null : $end + 1;
    }

    /** @return array{int, int}|false where the next closing tag begins and ends */
    private function closing(string $s, string $name, int $from): array|false
    {
        $known = $this->closing[$name] ?? [-1, -1];
        if ($known !== false && $known[0] < $from) {
            $found = preg_match('~\[/' . preg_quote($name, '~') . '(?::[^\[\]\s]*+)?[\t\n\f\r ]*+\]~i', $s, $m, PREG_OFFSET_CAPTURE, $from);
            $known = $found ? [$m[0][1], $m[0][1] + strlen($m[0][0])] : false;
            $this->closing[$name] = $known;
        }
        return $known;
    }

    /**
     * Rewrites an image whose name ends at $after. Some forums end its tag at the
     * first bracket, some at one that is not in quotes. It returns where its URL ends.
     */
    private function bbcodeImage(string $s, string $name, int $after, int $bracket, int $end): int
    {
        // A URL in the tag itself.
        $value = $after + ($s[$after] === ':' ? strcspn($s, self::SPACE . '=[]"\'', $after) : 0);
        $to = $end > $bracket ? $end : $value + strcspn($s, '[]', $value);
        if (($s[$value] ?? '') === '=') {
            $this->bbcodeValue($s, $value + 1, $to, true);
        }
        $tag = substr($s, $value, max(0, $to - $value));
        for ($i = 0; preg_match('~[\t\n\f\r ]([a-z-]+)=~i', $tag, $m, PREG_OFFSET_CAPTURE, $i);) {
            $i = $m[0][1] + strlen($m[0][0]);
            if (in_array(strtolower($m[1][0]), self::BBCODE_URLS, true)) {
                $this->bbcodeValue($s, $value + $i, $to, false);
            }
        }
        $next = $after;
        foreach (array_unique([$bracket, $end]) as $tagEnd) {
            if ($tagEnd >= $next) {
                $next = $this->bbcodeContent($s, $name, $tagEnd + 1) ?? $next;
            }
        }
        return $next;
    }

    /** Rewrites the value at $from, of a tag that ends at $to. Where it is the tag's own, it may hold spaces. */
    private function bbcodeValue(string $s, int $from, int $to, bool $spaces): void
    {
        $quote = $s[$from] ?? '';
        if ($quote === '"' || $quote === "'") {
            $from++;
            $to = $from + strcspn($s, $quote, $from, max(0, $to - $from));
        } elseif (!$spaces) {
            $to = $from + strcspn($s, self::SPACE, $from, max(0, $to - $from));
        } elseif (preg_match('~[\t\n\f\r ][a-z-]+=~i', substr($s, $from, $to - $from), $m, PREG_OFFSET_CAPTURE)) {
            $to = $from + $m[0][1];
        }
        $text = substr($s, $from, $to - $from);
        $from += strspn($text, self::SPACE);
        $to -= strlen($text) - strlen(rtrim($text, self::SPACE));
        if ($from < $to) {
            $this->edit($from, $to, ImgkeepHtml::decode(substr($s, $from, $to - $from)));
        }
    }

    /** Rewrites the URL between the tags of an image, and returns where it ends; null where nothing is. */
    private function bbcodeContent(string $s, string $name, int $from): ?int
    {
        $from += strspn($s, self::SPACE, $from);
        if ($from >= strlen($s) || isset($this->seen["$name $from"])) {
            return null;
        }
        $this->seen["$name $from"] = true; // once, however many tags end here
        if ($s[$from] === '{') {
            $this->bbcodeJson($s, $name, $from);
            return null; // another image may begin in it
        }
        $first = null;
        for ($i = $from; ($i += strcspn($s, '[', $i)) < strlen($s); $i++) {
            // Brackets belong to the URL, as in "[Group] Name [720p].png", unless
            // a tag is closed in it or another image begins.
            if (!preg_match('~\G\[(/?)([a-z0-9_-]++)[\]:=\t\n\f\r ]~i', $s, $m, 0, $i)) {
                $first ??= $i;
                continue;
            }
            $inner = strtolower($m[2]);
            if ($m[1] === '/') {
                $i = $inner === $name ? $i : $first ?? $i;
                break;
            }
            if (isset($this->images[$inner])) {
                break;
            }
            $first ??= $i;
        }
        if ($i >= strlen($s) || $this->closing($s, $name, $i) === false) {
            return null;
        }
        $text = rtrim(substr($s, $from, $i - $from), self::SPACE);
        $line = rtrim(substr($text, 0, strcspn($text, "\r\n")), self::SPACE);
        foreach ([$line, $text] as $url) {
            if ($url !== '' && $this->edit($from, $from + strlen($url), ImgkeepHtml::decode($url))) {
                return $from + strlen($url);
            }
        }
        return null;
    }

    /** Rewrites the JSON of vBulletin's [IMG2=JSON]. */
    private function bbcodeJson(string $s, string $name, int $from): void
    {
        $closing = $this->closing($s, $name, $from);
        if ($closing === false) {
            return;
        }
        $to = $closing[0];
        if ($from >= ($this->json[$name] ?? 0)) {
            $this->json[$name] = $to;
        } elseif (preg_match('~\[' . preg_quote($name, '~') . '[=\]]~i', $s, $m, PREG_OFFSET_CAPTURE, $from)) {
            $to = min($to, $m[0][1]); // this text was read for a tag before; each is read twice at most
        }
        [$json, $raw] = ImgkeepHtml::decodeAt(substr($s, $from, $to - $from), $from);
        $key = null;
        for ($i = 0; ($i = strpos($json, '"', $i)) !== false; $i++) {
            $start = ++$i;
            while (($i += strcspn($json, '"\\', $i)) < strlen($json) && $json[$i] === '\\') {
                $i += 2;
            }
            if ($i >= strlen($json)) {
                break;
            }
            $text = json_decode('"' . substr($json, $start, $i - $start) . '"');
            if (is_string($text) && is_string($key) && in_array(strtolower($key), self::BBCODE_URLS, true)) {
                $this->edit($raw($start), $raw($i), $text);
            }
            $key = preg_match('~\G"[\t\n\r ]*:[\t\n\r ]*(?=")~', $json, $m, 0, $i) ? $text : null;
        }
    }
}
