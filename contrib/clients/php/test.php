<?php

// php test.php ../vectors.json: compares the links with the vectors.

declare(strict_types=1);
error_reporting(E_ALL);
set_error_handler(function (int $level, string $message): never { throw new ErrorException($message); });
date_default_timezone_set('Pacific/Auckland'); // of the site: links do not depend on it

require __DIR__ . '/ImgkeepRewriter.php';

$failed = 0;
function same(string $what, string $got, string $want): void
{
    global $failed;
    if ($got !== $want) {
        fwrite(STDERR, "$what:\n  got  $got\n  want $want\n");
        $failed++;
    }
}

/** @param callable(): mixed $call */
function refused(string $what, callable $call): void
{
    try {
        $call();
    } catch (InvalidArgumentException) {
        return;
    }
    same($what, 'accepted', 'refused');
}

$file = json_decode(file_get_contents($argv[1]), false, 512, JSON_THROW_ON_ERROR);
$checked = 0;
foreach ($file->vectors as $v) {
    if (!$v->bucketless) { // which no client makes
        $imgkeep = new Imgkeep('', $v->secret, allowWeakSecret: true);
        same($v->name, $imgkeep->link($v->url, $v->size, $v->bucket, $v->proxy, $v->time), $v->link);
        $checked++;
    }
}
foreach ($file->secrets as $c) {
    $first = $file->vectors[0];
    if ($c->link === '') {
        refused("secret: $c->name", fn () => new Imgkeep('', $c->text));
    } else {
        same("secret: $c->name", (new Imgkeep('', $c->text))->link($first->url, at: $first->time), $c->link);
    }
    $checked++;
}
foreach ($file->links as $c) {
    $link = fn () => (new Imgkeep('', '1234', allowWeakSecret: true))->link($c->url, $c->size, $c->bucket, $c->proxy);
    $c->refused ? refused($c->name, $link) : $link();
    $checked++;
}

foreach ($file->tags as $c) {
    $tagged = fn () => (new Imgkeep('', $c->secret))->tagged($c->url, $c->by);
    $c->tagged === '' ? refused("tag: $c->name", $tagged) : same("tag: $c->name", $tagged(), $c->tagged);
    $checked++;
}

refused('a secret that is not UTF-8', fn () => new Imgkeep('', "a long enough secret\xff"));
foreach (['img.example.net', 'https://img.example.net/?a=1', 'https://img.example.net/"', "https://img.example.net\n", 'ftp://img.example.net', 'javascript:'] as $base) {
    refused("base $base", fn () => new Imgkeep($base, 'a long enough secret'));
}
foreach (['', '/', '/images/', '//img.example.net', 'HTTPS://img.example.net:8443/a/', 'http://[2001:db8::1]'] as $base) {
    same("base $base", (new Imgkeep($base, 'a long enough secret'))->base(), rtrim($base, '/'));
}
$imgkeep = new Imgkeep('https://img.example.net/', '1234', 'f', true);
same('base and bucket', substr($imgkeep->link('https://example.com/'), 0, 31), 'https://img.example.net/f/full/');
same('the secret is hidden', str_contains(print_r($imgkeep, true), '1234') ? 'shown' : 'hidden', 'hidden');

require __DIR__ . '/test_rewriter.php';

if ($failed > 0) {
    exit(1);
}
echo "$checked cases\n";
