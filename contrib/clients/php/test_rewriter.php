<?php

// Part of test.php: posts of forums, and hostile ones.

ini_set('memory_limit', '128M'); // PHP's default

$signer = new Imgkeep('https://img.example.net', 'a long enough secret');
$rewriter = new ImgkeepRewriter($signer, 'full', ['forum.example.org']);

// In the corpus «URL» is the link of a URL.
foreach (glob(__DIR__ . '/../testdata/*.json') as $file) {
    foreach (json_decode(file_get_contents($file), false, 512, JSON_THROW_ON_ERROR) as $c) {
        $name = basename($file, '.json') . ", $c->name";
        $want = preg_replace_callback('~«(.*?)»~s', fn (array $m): string => $signer->link($m[1]), $c->output);
        $got = $rewriter->{$c->format}($c->input);
        same($name, $got, $want);
        same("$name, again", $rewriter->{$c->format}($got), $got);
    }
}

// The same with other links, without a host, and with names of the forum's own.
$local = new ImgkeepRewriter(new Imgkeep('/images', 'a long enough secret'), '250x250', ['forum.example.org']);
$got = $local->html('<img src="https://example.com/1.png">');
same('a base without a host', substr($got, 0, 31), '<img src="/images/i/250x250/' . substr($got, 28, 3));
same('a base without a host, again', $local->html($got), $got);
$narrow = new ImgkeepRewriter($signer, verbatim: ['CODE'], images: ['pic']);
same(
    'names of the forum',
    $narrow->bbcode('[code][pic]https://e.example/1[/pic][/code][php][pic]https://e.example/1[/pic][/php][img]https://e.example/1[/img]'),
    '[code][pic]https://e.example/1[/pic][/code][php][pic]' . $signer->link('https://e.example/1') . '[/pic][/php][img]https://e.example/1[/img]',
);
refused('a size that no server knows', fn () => new ImgkeepRewriter($signer, '0x0'));

// Bytes that are not UTF-8 stay, and are signed as they stand.
foreach (["\xff", "\xc3", "\xe2\x82", "\xed\xa0\x80"] as $bad) {
    $link = $signer->link("https://e.example/$bad.png");
    same('not UTF-8', $rewriter->html("<p title=$bad>$bad<img src=\"https://e.example/$bad.png\">$bad"), "<p title=$bad>$bad<img src=\"$link\">$bad");
    same('not UTF-8', $rewriter->bbcode("$bad [img]https://e.example/$bad.png[/img]"), "$bad [img]{$link}[/img]");
}

// The names of references in rewriter.mjs are PHP's.
preg_match_all('~\b([A-Za-z0-9]+):([0-9a-f]+(?:,[0-9a-f]+)?)(?=[ \n])~', file_get_contents(__DIR__ . '/../javascript/references.mjs'), $all, PREG_SET_ORDER);
same('names of references', (string) count($all), '2125');
foreach ($all as [, $reference, $codes]) {
    $want = implode('', array_map(fn (string $code): string => json_decode(sprintf('"%s"', substr(json_encode(iconv('UCS-4BE', 'UTF-8', pack('N', hexdec($code)))), 1, -1))), explode(',', $codes)));
    same("reference $reference", html_entity_decode("&$reference;", ENT_QUOTES | ENT_HTML5, 'UTF-8'), $want);
}

/** Milliseconds of the processor, which other programs of the machine do not change. */
function processor(callable $call): float
{
    $now = fn (): float => ($u = getrusage())['ru_utime.tv_sec'] * 1e3 + $u['ru_utime.tv_usec'] / 1e3 + $u['ru_stime.tv_sec'] * 1e3 + $u['ru_stime.tv_usec'] / 1e3;
    $start = $now();
    $call();
    return $now() - $start;
}

// Ten times as much takes about ten times as long; it would be a hundred times where
// each tag is looked at from each other.
function hostile(int $bytes): array
{
    $m = fn (string $s): string => str_repeat($s, intdiv($bytes, strlen($s)));
    return ['html' => [
        'a long tag' => '<img alt="' . $m('x') . '" src=https://e.example/1.png>',
        'many attributes' => '<img ' . $m('a=1 ') . 'src=https://e.example/1.png>',
        'many of one attribute' => '<img ' . $m('src=//e ') . '>',
        'quotes that do not end' => $m('<img src="https://e.example/'),
        'other quotes that do not end' => $m("<a title='"),
        'brackets' => $m('<'),
        'tags in tags' => $m('<a <'),
        'comments' => $m('<!--'),
        'noscript' => $m('<noscript>'),
        'svg' => $m('<svg><g>') . $m('</x>'),
        'svg, closed' => $m('<svg>') . $m('</svg>'),
        'titles' => $m('<title>'),
        'styles' => $m('<style></style>'),
        'scripts' => $m('<script>'),
        'scripts in comments' => '<script>' . $m('<!--<script>'),
        'url() that does not end' => '<p style="' . $m('url(') . '">',
        'backslashes in CSS' => '<p style="(' . $m('\\') . '(">',
        'escapes in CSS' => '<p style="' . $m('u\\72 l(//e.example/a) ') . '">',
        'quotes in CSS' => "<p style='" . $m('url("//e.example/') . "'>",
        'srcset' => '<img srcset="' . $m('//e.example/1, ') . '">',
        'brackets in srcset' => '<img srcset="' . $m('(') . '">',
        'commas in srcset' => '<img srcset="' . $m(',') . '">',
        'references' => '<img src="//e.example/' . $m('&amp;') . '">',
        'broken references' => '<img src="//e.example/' . $m('&') . '">',
        'references in CSS' => '<img style="' . $m('&quot;(') . '">',
        'a large number' => '<img src="&#' . $m('1') . '">',
        'ports' => '<img src="//' . $m(':1') . '">',
        'spaces' => '<img src="x' . $m(' ') . 'y">',
    ], 'bbcode' => [
        'open tags' => $m('[img]'),
        'images that do not end' => $m('[img]https://e.example/'),
        'images of which one ends' => $m('[img]https://e.example/') . '[/img]',
        'quotes' => $m('[img alt="') . ']',
        'two kinds of quotes' => $m("[img a=\"[img b='") . ']x[/img]',
        'brackets' => $m('['),
        'brackets in a tag' => $m('[img=[') . ']',
        'nested brackets' => $m('[b]') . $m('[/b]'),
        'code that does not end' => $m('[code]'),
        'code' => $m('[code][/code]'),
        'code in code' => $m('[code][php]') . '[/code]',
        'closing tags that do not end' => '[img]' . $m('[/img:'),
        'closing tags with a space' => '[img]https://e.example/' . $m('[/img '),
        'many of one attribute' => '[img ' . $m('src=//e ') . ']',
        'spaces in a tag' => '[img=x' . $m(' ') . 'y]',
        'spaces in a URL' => '[img]https://e.example/' . $m(' ') . 'x[/img]',
        'line ends' => '[img]' . $m("h\n") . '[/img]',
        'JSON in JSON' => $m('[img2=json]{"src":"') . '[/img2]',
        'much JSON' => '[img2=json]{' . $m('"src":"//e.example/a",') . '}[/img2]',
        'escaped JSON' => '[img2=json]{' . $m('&quot;src&quot;:&quot;//e.example/a&quot;,') . '}[/img2]',
        'backslashes in JSON' => '[img2=json]{"src":"' . $m('\\') . '"}[/img2]',
        'a long URL' => '[img]https://e.example/' . $m('a') . '[/img]',
        'a long name' => '[' . $m('a') . ']',
        'uids' => $m('[img:') . ']',
    ]];
}
$theirs = $rewriter->by('4711');
$tagged = fn (string $by): string => $signer->link($signer->tagged('https://e.example/1', $by));
same('of a member', $theirs->html('<img src="https://e.example/1#a">'), '<img src="' . $tagged('4711') . '">');
same('of another', $theirs->by('4712')->bbcode('[img]https://e.example/1[/img]'), '[img]' . $tagged('4712') . '[/img]');
same('of nobody', $rewriter->html('<img src="https://e.example/1">'), '<img src="' . $signer->link('https://e.example/1') . '">');
same('of a member, again', $theirs->html($theirs->html('<img src="https://e.example/1">')), $theirs->html('<img src="https://e.example/1">'));
refused('no tag', fn () => $rewriter->by('a b'));

$small = hostile(30_000);
foreach (hostile(300_000) as $format => $posts) {
    foreach ($posts as $name => $post) {
        $short = processor(fn () => $rewriter->$format($small[$format][$name]));
        $long = processor(function () use ($rewriter, $format, $post, &$out) { $out = $rewriter->$format($post); });
        same("hostile: $name, again", md5($rewriter->$format($out)), md5($out));
        if ($long > 30 * $short + 100) {
            same("hostile: $name", "$long ms, and $short ms for a tenth", 'about ten times as long');
        }
    }
}
$post = '<img alt="' . str_repeat('x', 1 << 20) . '" src=https://e.example/1.png>';
same('a tag of 1 MB', md5($rewriter->html($post)), md5(str_replace('https://e.example/1.png', $signer->link('https://e.example/1.png'), $post)));

// 10,000 images: half a second is asked for; a machine may be four times as slow.
foreach (['html' => '<p><img src="https://host%1$d.example/%1$d.png?a=1&amp;b=2" alt="x"></p>', 'bbcode' => "text [img]https://host%1\$d.example/%1\$d.png?a=1&b=2[/img]\n"] as $format => $image) {
    $post = implode('', array_map(fn (int $i): string => sprintf($image, $i), range(1, 10_000)));
    $time = processor(function () use ($rewriter, $format, $post, &$out) { $out = $rewriter->$format($post); });
    same("10,000 images, $format", (string) substr_count($out, 'https://img.example.net/i/full/'), '10000');
    if ($time > 2000) {
        same("10,000 images, $format", "$time ms", 'less than 2000 ms');
    }
}
