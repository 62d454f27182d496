<?php

/**
 * Finds the URLs of images in HTML, for ImgkeepRewriter, by the rules of the
 * WHATWG's tokenizer: tags, attributes with and without quotes, character
 * references, comments, elements whose content is text, SVG and MathML.
 */
final class ImgkeepHtml
{
    private const SPACE = "\t\n\f\r ";
    private const LETTERS = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
    private const DIGITS = '0123456789';

    /** Attributes that hold the URL of an image, by element. */
    private const URLS = [
        'img' => ['src', 'data-src', 'data-url', 'data-original', 'data-lazy-src', 'lowsrc'],
        'image' => ['src', 'data-src', 'href', 'xlink:href'], // <image> is <img> in HTML
        'feimage' => ['href', 'xlink:href'],
        'input' => ['src', 'data-src'], // of type image
        'object' => ['data'], // of type image/…
        'embed' => ['src'], // of type image/…
        'video' => ['poster', 'data-poster'],
        'body' => ['background'], 'table' => ['background'], 'thead' => ['background'], 'tbody' => ['background'],
        'tfoot' => ['background'], 'tr' => ['background'], 'td' => ['background'], 'th' => ['background'],
    ];

    /** Attributes that hold several, and their elements. */
    private const SRCSETS = ['srcset', 'data-srcset', 'data-lazy-srcset'];
    private const HAVE_SRCSET = ['img', 'source', 'image'];

    /** Attributes that hold CSS, of all elements. */
    private const CSS = ['style', 'fill', 'stroke', 'filter', 'mask', 'clip-path', 'cursor', 'marker', 'marker-start', 'marker-mid', 'marker-end'];

    /** Attributes that say what an element is. */
    private const FACTS = ['type', 'class', 'color', 'face', 'size', 'encoding'];

    /** Elements whose content is text, in HTML. script, noscript and plaintext have rules of their own. */
    private const RAW = ['style', 'title', 'textarea', 'xmp', 'iframe', 'noembed', 'noframes'];

    /** Elements that end SVG and MathML, and those in which these have HTML. */
    private const BREAKOUT = [
        'b', 'big', 'blockquote', 'body', 'br', 'center', 'code', 'dd', 'div', 'dl', 'dt', 'em', 'embed', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'head',
        'hr', 'i', 'img', 'li', 'listing', 'menu', 'meta', 'nobr', 'ol', 'p', 'pre', 'ruby', 's', 'small', 'span', 'strong', 'strike', 'sub', 'sup',
        'table', 'tt', 'u', 'ul', 'var',
    ];
    private const INTEGRATION = ['svg foreignobject', 'svg desc', 'svg title', 'math mi', 'math mo', 'math mn', 'math ms', 'math mtext', 'html annotation-xml'];

    /** What the numbers 128 to 159 mean in character references. */
    private const WINDOWS_1252 = [
        0x20AC, 0x81, 0x201A, 0x192, 0x201E, 0x2026, 0x2020, 0x2021, 0x2C6, 0x2030, 0x160, 0x2039, 0x152, 0x8D, 0x17D, 0x8F,
        0x90, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x2DC, 0x2122, 0x161, 0x203A, 0x153, 0x9D, 0x17E, 0x178,
    ];

    /** @var array<string, true> */
    private array $wanted;

    /** @param callable(int, int, string): bool $edit is told where a URL begins and ends, and the URL */
    public function __construct(private $edit)
    {
        $this->wanted = array_fill_keys(array_merge(self::SRCSETS, self::CSS, self::FACTS, ...array_values(self::URLS)), true);
    }

    /** Reports the images of HTML. noscript is read as text, which it is to most browsers, and as HTML. */
    public function scan(string $html): void
    {
        $this->scanAs($html, false);
        if (stripos($html, '<noscript') !== false) {
            $this->scanAs($html, true);
        }
    }

    private function scanAs(string $html, bool $scripting): void
    {
        $foreign = []; // open elements of SVG and MathML, each after its language
        $count = [];   // of them, by name
        $open = [];    // elements of HTML, by name: how many are open
        $i = 0;
        while (($i = strpos($html, '<', $i)) !== false) {
            $top = end($foreign);
            $inForeign = $top !== false && !in_array($top, self::INTEGRATION, true);
            $c = $html[$i + 1] ?? '';
            $closes = $c === '/';
            if ($closes) {
                $c = $html[$i + 2] ?? '';
            }
            if ($c === '' || !str_contains(self::LETTERS, $c)) {
                if ($closes || $c === '!' || $c === '?') {
                    $i = self::endOfMarkup($html, $i, $inForeign);
                } else {
                    $i++;
                }
                continue;
            }
            $i += $closes ? 1 : 0;
            [$name, $attributes, $selfClosing] = self::tag($html, $i, $this->wanted);
            if ($closes) {
                self::closeElement($name, $inForeign, $foreign, $count, $open);
                continue;
            }
            if ($inForeign && (in_array($name, self::BREAKOUT, true) || $name === 'font' && array_intersect_key($attributes, ['color' => 1, 'face' => 1, 'size' => 1]))) {
                self::leaveForeign($foreign, $count);
                $inForeign = false;
            }
            $this->element($html, $name, $attributes);
            if ($inForeign || $name === 'svg' || $name === 'math') {
                if (!$selfClosing) {
                    $language = $inForeign ? strstr($top, ' ', true) : $name;
                    if ($name === 'annotation-xml' && in_array(self::value($html, $attributes, 'encoding'), ['text/html', 'application/xhtml+xml'], true)) {
                        $language = 'html';
                    }
                    $foreign[] = "$language $name";
                    $count[$name] = ($count[$name] ?? 0) + 1;
                }
            } elseif ($name === 'plaintext') {
                $i = strlen($html);
            } elseif ($name === 'script') {
                $i = self::endOfScript($html, $i);
            } elseif (in_array($name, self::RAW, true) || $scripting && $name === 'noscript') {
                $from = $i;
                $i = self::endOfRaw($html, $name, $i);
                if ($name === 'style') {
                    $this->css(substr($html, $from, $i - $from), fn (int $at): int => $from + $at);
                }
            } else {
                $open[$name] = ($open[$name] ?? 0) + 1;
            }
        }
    }

    /**
     * Reads the tag whose "<" (or "/" of "</") stands at $i, and sets $i behind it.
     * One that never ends is read to the end: what comes behind the post ends it.
     *
     * @param array<string, mixed> $wanted the names of the attributes that matter
     * @return array{string, array<string, array{int, int}>, bool} its name, where the values of the attributes
     *         are that matter (the first of a name), whether it closes itself
     */
    public static function tag(string $s, int &$i, array $wanted): array
    {
        $n = strcspn($s, self::SPACE . '/>', ++$i);
        $name = strtolower(substr($s, $i, min($n, 64)));
        $i += $n;
        $length = strlen($s);
        $attributes = [];
        while (true) {
            $gap = strspn($s, self::SPACE . '/', $i);
            $i += $gap;
            if ($i >= $length) {
                return [$name, $attributes, false];
            }
            if ($s[$i] === '>') {
                $i++;
                return [$name, $attributes, $gap > 0 && $s[$i - 2] === '/'];
            }
            $from = $i;
            $i += $s[$i] === '=' ? 1 : 0;
            $i += strcspn($s, self::SPACE . '/>=', $i);
            $attribute = strtolower(substr($s, $from, min($i - $from, 32)));
            $equals = $i + strspn($s, self::SPACE, $i);
            if ($equals >= $length || $s[$equals] !== '=') {
                continue;
            }
            $i = $equals + 1;
            $i += strspn($s, self::SPACE, $i);
            $quote = $s[$i] ?? '';
            if ($quote === '"' || $quote === "'") {
                $from = $i + 1;
                $to = strpos($s, $quote, $from);
                $to = $to === false ? $length : $to;
                $i = min($to + 1, $length);
            } else {
                $from = $i;
                $i += strcspn($s, self::SPACE . '>', $i);
                $to = $i;
            }
            if (isset($wanted[$attribute])) {
                $attributes[$attribute] ??= [$from, $to];
            }
        }
    }

    /** The value of an attribute, in small letters. */
    private static function value(string $s, array $attributes, string $attribute): string
    {
        [$from, $to] = $attributes[$attribute] ?? [0, 0];
        return strtolower(self::decode(substr($s, $from, $to - $from)));
    }

    /** Rewrites the attributes of an element. */
    private function element(string $s, string $name, array $attributes): void
    {
        $value = fn (string $attribute): string => self::value($s, $attributes, $attribute);
        $urls = self::URLS[$name] ?? [];
        if ($name === 'input' && $value('type') !== 'image' || ($name === 'object' || $name === 'embed') && !str_starts_with(trim($value('type')), 'image/')) {
            $urls = [];
        } elseif (isset($attributes['data-src'], $attributes['class']) && preg_match('~(?:^|\s)(?:lbcontainer-zoomer|bbimagewrapper|js-lbimage)(?![^\s-])~', $value('class'))) {
            $urls[] = 'data-src'; // XenForo's lightbox
        }
        foreach ($attributes as $attribute => [$from, $to]) {
            $text = substr($s, $from, $to - $from);
            if (in_array($attribute, $urls, true)) {
                ($this->edit)($from, $to, self::decode($text));
            } elseif (in_array($attribute, self::SRCSETS, true) && in_array($name, self::HAVE_SRCSET, true)) {
                $this->srcset(...self::decodeAt($text, $from));
            } elseif (in_array($attribute, self::CSS, true)) {
                $this->css(...self::decodeAt($text, $from));
            }
        }
    }

    private function srcset(string $s, callable $raw): void
    {
        $i = 0;
        $length = strlen($s);
        while (($i += strspn($s, self::SPACE . ',', $i)) < $length) {
            $from = $i;
            $i += strcspn($s, self::SPACE, $i);
            $url = substr($s, $from, $i - $from);
            $bare = rtrim($url, ',');
            ($this->edit)($raw($from), $raw($from + strlen($bare)), $bare);
            if ($bare !== $url) {
                continue; // without a descriptor
            }
            for ($depth = 0; $i < $length; $i++) { // the descriptors
                $i += strcspn($s, '(),', $i);
                $c = $s[$i] ?? '';
                $depth = $c === '(' ? 1 : ($c === ')' ? 0 : $depth);
                if ($c === ',' && $depth === 0) {
                    break;
                }
            }
        }
    }

    /** Rewrites url(…) in CSS, and the strings of image-set(). Fonts and style sheets stay. */
    private function css(string $s, callable $raw): void
    {
        if (!preg_match('~[(\\\\]~', $s)) {
            return;
        }
        $letters = self::LETTERS . self::DIGITS . '_-\\' . implode('', array_map('chr', range(0x80, 0xFF)));
        $strings = stripos($s, 'image-set') !== false;
        $skip = ''; // the character that ends what is no matter of images
        $length = strlen($s);
        for ($i = 0; ($i += strcspn($s, "/\"'@;}" . $letters, $i)) < $length;) {
            $c = $s[$i];
            if ($c === '/' && ($s[$i + 1] ?? '') === '*') {
                $end = strpos($s, '*/', $i + 2);
                $i = $end === false ? $length : $end + 2;
            } elseif ($c === '"' || $c === "'") {
                $from = ++$i;
                $i = self::endOfCssString($s, $i, $c);
                if ($strings && $skip === '') {
                    ($this->edit)($raw($from), $raw($i), self::unescapeCss(substr($s, $from, $i - $from)));
                }
                $i++;
            } elseif ($c === '/' || $c === ';' || $c === '}') {
                $skip = $skip === $c ? '' : $skip;
                $i++;
            } else {
                $from = $i;
                $i += $c === '@' ? 1 : 0;
                while (($n = strspn($s, $letters, $i)) > 0) { // an escape may end in a space
                    $i += $n;
                    if (preg_match('~\\\\[0-9a-f]{1,6}\z~i', substr($s, max($from, $i - 7), $i - max($from, $i - 7)))) {
                        $i += strspn($s, self::SPACE, $i, 1);
                    } elseif ($s[$i - 1] === '\\') {
                        $i++;
                    }
                }
                $i = min($i, $length);
                $word = $i - $from > 64 ? '' : strtolower(self::unescapeCss(substr($s, $from, $i - $from)));
                if ($word === '@import' || $word === '@namespace') {
                    $skip = ';';
                } elseif ($word === '@font-face') {
                    $skip = '}';
                } elseif ($word === 'url' && ($s[$i] ?? '') === '(') {
                    $this->cssUrl($s, $i, $raw, $skip === '');
                }
            }
        }
    }

    /** Reads url(…) whose bracket stands at $i, and sets $i behind its value. */
    private function cssUrl(string $s, int &$i, callable $raw, bool $rewrite): void
    {
        $i++;
        $i += strspn($s, self::SPACE, $i);
        $quote = $s[$i] ?? '';
        if ($quote === '"' || $quote === "'") {
            $from = ++$i;
            $to = self::endOfCssString($s, $i, $quote);
            $i = $to + 1;
        } else {
            $from = $i;
            while (($i += strcspn($s, self::SPACE . ')\\', $i)) < strlen($s) && $s[$i] === '\\') {
                $i += 2;
            }
            $to = $i = min($i, strlen($s));
        }
        if ($rewrite) {
            ($this->edit)($raw($from), $raw($to), self::unescapeCss(substr($s, $from, $to - $from)));
        }
    }

    private static function endOfCssString(string $s, int $i, string $quote): int
    {
        while (($i += strcspn($s, "$quote\\\n\r\f", $i)) < strlen($s) && $s[$i] === '\\') {
            $i += 2;
        }
        return min($i, strlen($s));
    }

    private static function unescapeCss(string $s): string
    {
        return !str_contains($s, '\\') ? $s : preg_replace_callback(
            '~\\\\(?:([0-9a-f]{1,6})(?:\r\n|[\t\n\f\r ])?|\r\n|[\n\r\f]|(.)|\z)~is',
            fn (array $m): string => ($m[1] ?? '') !== '' ? self::character((int) hexdec($m[1])) : $m[2] ?? '',
            $s,
        );
    }

    /** The end of a comment, a doctype, a processing instruction or CDATA at $i. */
    private static function endOfMarkup(string $s, int $i, bool $foreign): int
    {
        $end = match (true) {
            substr($s, $i, 4) === '<!--' => preg_match('~\G-?>|--!?>~', $s, $m, PREG_OFFSET_CAPTURE, $i + 4) ? $m[0] : false,
            $foreign && substr($s, $i, 9) === '<![CDATA[' => ($p = strpos($s, ']]>', $i)) === false ? false : [']]>', $p],
            default => ($p = strpos($s, '>', $i)) === false ? false : ['>', $p],
        };
        return $end === false ? strlen($s) : $end[1] + strlen($end[0]);
    }

    private static function endOfRaw(string $s, string $name, int $i): int
    {
        return preg_match("~</{$name}[\\t\\n\\f\\r />]~i", $s, $m, PREG_OFFSET_CAPTURE, $i) ? $m[0][1] : strlen($s);
    }

    /** The end of a script, in which "<!--" and "<script" hide one "</script>". */
    private static function endOfScript(string $s, int $i): int
    {
        $escaped = $double = false;
        while (preg_match('~<!--|-->|<(/?)script[\t\n\f\r />]~i', $s, $m, PREG_OFFSET_CAPTURE, $i)) {
            [$found, $at] = $m[0];
            $i = $at + strlen($found);
            if ($found === '<!--') {
                $escaped = true;
                $i -= 2; // its dashes may belong to "-->"
            } elseif ($found === '-->') {
                $escaped = $double = false;
            } elseif ($m[1][0] === '') {
                $double = $escaped;
            } elseif ($double) {
                $double = false;
            } else {
                return $at;
            }
        }
        return strlen($s);
    }

    private static function leaveForeign(array &$foreign, array &$count): void
    {
        while ($foreign && !in_array(end($foreign), self::INTEGRATION, true)) {
            $count[substr(strstr(array_pop($foreign), ' '), 1)]--;
        }
    }

    private static function closeElement(string $name, bool $inForeign, array &$foreign, array &$count, array &$open): void
    {
        $isOpen = ($open[$name] ?? 0) > 0;
        if ($inForeign && ($name === 'p' || $name === 'br')) {
            self::leaveForeign($foreign, $count);
        } elseif (($count[$name] ?? 0) > 0 && ($inForeign || !$isOpen)) {
            do {
                $last = substr(strstr(array_pop($foreign), ' '), 1);
                $count[$last]--;
            } while ($last !== $name);
        } elseif ($isOpen) {
            $open[$name]--;
            if ($inForeign) {
                self::leaveForeign($foreign, $count);
            }
        }
    }

    /** Decodes character references as in attributes of HTML. */
    public static function decode(string $text): string
    {
        return str_contains($text, '&') ? self::decodeParts($text, false)[0] : $text;
    }

    /**
     * The same, with a function from positions in the result to those in the text.
     *
     * @return array{string, callable(int): int}
     */
    public static function decodeAt(string $text, int $from): array
    {
        if (!str_contains($text, '&')) {
            return [$text, fn (int $at): int => $from + $at];
        }
        [$decoded, $parts] = self::decodeParts($text, true);
        return [$decoded, function (int $at) use ($parts, $from): int {
            $low = 0;
            $high = intdiv(count($parts), 3) - 1;
            while ($low < $high) { // the last part that begins at $at or before
                $middle = ($low + $high + 1) >> 1;
                $parts[3 * $middle] <= $at ? $low = $middle : $high = $middle - 1;
            }
            [$start, $raw, $length] = array_slice($parts, 3 * $low, 3);
            return $from + $raw + ($length === 0 || $at === $start ? $at - $start : $length);
        }];
    }

    /**
     * @return array{string, list<int>} the result, and of each of its parts three numbers: where it begins in
     *         the result and in the text, and the length in the text of what is a reference
     */
    private static function decodeParts(string $text, bool $wanted): array
    {
        $decoded = '';
        $parts = [0, 0, 0];
        $at = 0;
        $length = strlen($text);
        while (($i = strpos($text, '&', $at)) !== false) {
            $decoded .= substr($text, $at, $i - $at);
            [$reference, $char] = self::reference($text, $i);
            if ($wanted && $char !== null) {
                array_push($parts, strlen($decoded), $i, $reference, strlen($decoded) + strlen($char), $i + $reference, 0);
            }
            $at = $i + $reference;
            $decoded .= $char ?? substr($text, $i, $reference);
        }
        return [$decoded . substr($text, $at, $length - $at), $parts];
    }

    /** @return array{int, ?string} the length of a reference and its character; null where it is none */
    private static function reference(string $text, int $i): array
    {
        if (($text[$i + 1] ?? '') === '#') {
            $hex = ($text[$i + 2] ?? '') === 'x' || ($text[$i + 2] ?? '') === 'X';
            $from = $i + ($hex ? 3 : 2);
            $n = strspn($text, $hex ? self::DIGITS . 'abcdefABCDEF' : self::DIGITS, $from);
            if ($n === 0) {
                return [1, null];
            }
            $digits = ltrim(substr($text, $from, $n), '0');
            $code = strlen($digits) > 7 ? 0 : (int) ($hex ? hexdec("0$digits") : $digits);
            $end = $from + $n;
            return [$end - $i + (($text[$end] ?? '') === ';' ? 1 : 0), self::character($code)];
        }
        $n = strspn($text, self::LETTERS . self::DIGITS, $i + 1);
        if ($n === 0 || $n > 31) {
            return [$n + 1, null];
        }
        $name = substr($text, $i + 1, $n);
        $next = $text[$i + 1 + $n] ?? '';
        if ($next === ';') {
            $char = html_entity_decode("&$name;", ENT_QUOTES | ENT_HTML5, 'UTF-8');
            return [$n + 2, $char === "&$name;" ? null : $char];
        }
        // Without a semicolon only the names of Latin-1 count, and not before "=".
        $char = match ($name) {
            'AMP' => '&', 'LT' => '<', 'GT' => '>', 'QUOT' => '"', 'COPY' => "\u{a9}", 'REG' => "\u{ae}",
            default => html_entity_decode("&$name;", ENT_COMPAT | ENT_HTML401, 'UTF-8'),
        };
        $latin = strlen($char) === 1 || strlen($char) === 2 && ord($char[0]) <= 0xC3;
        return [$n + 1, $next === '=' || !$latin ? null : $char];
    }

    private static function character(int $code): string
    {
        if ($code >= 0x80 && $code <= 0x9F) {
            $code = self::WINDOWS_1252[$code - 0x80];
        }
        if ($code === 0 || $code > 0x10FFFF || $code >= 0xD800 && $code <= 0xDFFF) {
            $code = 0xFFFD;
        }
        return match (true) {
            $code < 0x80 => chr($code),
            $code < 0x800 => chr(0xC0 | $code >> 6) . chr(0x80 | $code & 0x3F),
            $code < 0x10000 => chr(0xE0 | $code >> 12) . chr(0x80 | $code >> 6 & 0x3F) . chr(0x80 | $code & 0x3F),
            default => chr(0xF0 | $code >> 18) . chr(0x80 | $code >> 12 & 0x3F) . chr(0x80 | $code >> 6 & 0x3F) . chr(0x80 | $code & 0x3F),
        };
    }
}
