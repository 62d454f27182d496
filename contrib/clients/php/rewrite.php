<?php

// php rewrite.php FILE: the posts of a file, [format, post] each, rewritten once
// and twice; posts_test.go compares languages.

declare(strict_types=1);
error_reporting(E_ALL);
set_error_handler(function (int $level, string $message): never { throw new ErrorException($message); });

require __DIR__ . '/ImgkeepRewriter.php';

$rewriter = new ImgkeepRewriter(new Imgkeep('https://img.example.net', 'a long enough secret'), 'full', ['forum.example.org']);
$out = [];
foreach (json_decode(file_get_contents($argv[1]), false, 512, JSON_THROW_ON_ERROR) as [$format, $post]) {
    $once = $rewriter->$format($post);
    $out[] = [$once, $rewriter->$format($once)];
}
echo json_encode($out, JSON_THROW_ON_ERROR);
