// Part of test.mjs: posts of forums, and hostile ones.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { Signer } from "./imgkeep.mjs";
import { Rewriter } from "./rewriter.mjs";

const signer = new Signer("https://img.example.net", "a long enough secret");
const rewriter = new Rewriter(signer, { own: ["forum.example.org"] });

/** In the corpus «URL» is the link of a URL. */
async function expand(output) {
  const parts = output.split(/«([^»]*)»/);
  for (let i = 1; i < parts.length; i += 2) {
    parts[i] = await signer.link(parts[i]);
  }
  return parts.join("");
}

/** Milliseconds of the processor, which other programs of the machine do not change. */
async function processor(call) {
  const start = process.cpuUsage();
  await call();
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
}

function hostile(bytes) {
  const m = (s) => s.repeat(Math.floor(bytes / s.length));
  const html = [
    ["a long tag", '<img alt="' + m('x') + '" src=https://e.example/1.png>'],
    ["many attributes", '<img ' + m('a=1 ') + 'src=https://e.example/1.png>'],
    ["many of one attribute", '<img ' + m('src=//e ') + '>'],
    ["quotes that do not end", m('<img src="https://e.example/')],
    ["other quotes that do not end", m("<a title='")],
    ["brackets", m('<')],
    ["tags in tags", m('<a <')],
    ["comments", m('<!--')],
    ["noscript", m('<noscript>')],
    ["svg", m('<svg><g>') + m('</x>')],
    ["svg, closed", m('<svg>') + m('</svg>')],
    ["titles", m('<title>')],
    ["styles", m('<style></style>')],
    ["scripts", m('<script>')],
    ["scripts in comments", '<script>' + m('<!--<script>')],
    ["url() that does not end", '<p style="' + m('url(') + '">'],
    ["backslashes in CSS", '<p style="(' + m('\\') + '(">'],
    ["escapes in CSS", '<p style="' + m('u\\72 l(//e.example/a) ') + '">'],
    ["quotes in CSS", "<p style='" + m('url("//e.example/') + "'>"],
    ["srcset", '<img srcset="' + m('//e.example/1, ') + '">'],
    ["brackets in srcset", '<img srcset="' + m('(') + '">'],
    ["commas in srcset", '<img srcset="' + m(',') + '">'],
    ["references", '<img src="//e.example/' + m('&amp;') + '">'],
    ["broken references", '<img src="//e.example/' + m('&') + '">'],
    ["references in CSS", '<img style="' + m('&quot;(') + '">'],
    ["a large number", '<img src="&#' + m('1') + '">'],
    ["ports", '<img src="//' + m(':1') + '">'],
    ["spaces", '<img src="x' + m(' ') + 'y">'],
  ];
  const bbcode = [
    ["open tags", m('[img]')],
    ["images that do not end", m('[img]https://e.example/')],
    ["images of which one ends", m('[img]https://e.example/') + '[/img]'],
    ["quotes", m('[img alt="') + ']'],
    ["two kinds of quotes", m("[img a=\"[img b='") + ']x[/img]'],
    ["brackets", m('[')],
    ["brackets in a tag", m('[img=[') + ']'],
    ["nested brackets", m('[b]') + m('[/b]')],
    ["code that does not end", m('[code]')],
    ["code", m('[code][/code]')],
    ["code in code", m('[code][php]') + '[/code]'],
    ["closing tags that do not end", '[img]' + m('[/img:')],
    ["closing tags with a space", '[img]https://e.example/' + m('[/img ')],
    ["many of one attribute", '[img ' + m('src=//e ') + ']'],
    ["spaces in a tag", '[img=x' + m(' ') + 'y]'],
    ["spaces in a URL", '[img]https://e.example/' + m(' ') + 'x[/img]'],
    ["line ends", '[img]' + m("h\n") + '[/img]'],
    ["JSON in JSON", m('[img2=json]{"src":"') + '[/img2]'],
    ["much JSON", '[img2=json]{' + m('"src":"//e.example/a",') + '}[/img2]'],
    ["escaped JSON", '[img2=json]{' + m('&quot;src&quot;:&quot;//e.example/a&quot;,') + '}[/img2]'],
    ["backslashes in JSON", '[img2=json]{"src":"' + m('\\') + '"}[/img2]'],
    ["a long URL", '[img]https://e.example/' + m('a') + '[/img]'],
    ["a long name", '[' + m('a') + ']'],
    ["uids", m('[img:') + ']'],
  ];
  return [...html.map((c) => ["html", ...c]), ...bbcode.map((c) => ["bbcode", ...c])];
}

export async function testRewriter() {
  const corpus = new URL("../testdata/", import.meta.url);
  for (const file of readdirSync(corpus)) {
    for (const c of JSON.parse(readFileSync(new URL(file, corpus), "utf8"))) {
      const got = await rewriter[c.format](c.input);
      assert.equal(got, await expand(c.output), `${file}: ${c.name}`);
      assert.equal(await rewriter[c.format](got), got, `${file}: ${c.name}, again`);
    }
  }

  const local = new Rewriter(new Signer("/images", "a long enough secret"), { size: "250x250" });
  const once = await local.html('<img src="https://example.com/1.png">');
  assert.match(once, /^<img src="\/images\/i\/250x250\//);
  assert.equal(await local.html(once), once);
  const link = await signer.link("https://e.example/1");
  assert.equal(
    await new Rewriter(signer, { verbatim: ["CODE"], images: ["pic"] }).bbcode(
      "[code][pic]https://e.example/1[/pic][/code][php][pic]https://e.example/1[/pic][/php][img]https://e.example/1[/img]",
    ),
    `[code][pic]https://e.example/1[/pic][/code][php][pic]${link}[/pic][/php][img]https://e.example/1[/img]`,
  );
  await assert.rejects(new Rewriter(signer, { size: "0x0" }).html(""), TypeError);
  assert.throws(() => new Rewriter(signer, { sise: "full" }), /sise/);
  assert.equal(await rewriter.html('\ud800<img src="/a">\udc00'), '\ud800<img src="/a">\udc00'); // no text in UTF-8

  const theirs = rewriter.by("4711");
  const tagged = async (by) => signer.link(await signer.tagged("https://e.example/1", by));
  assert.equal(await theirs.html('<img src="https://e.example/1#a">'), `<img src="${await tagged("4711")}">`);
  assert.equal(await theirs.by(4712).bbcode("[img]https://e.example/1[/img]"), `[img]${await tagged("4712")}[/img]`);
  assert.equal(await rewriter.html('<img src="https://e.example/1">'), `<img src="${link}">`);
  assert.equal(await theirs.html(await theirs.html('<img src="https://e.example/1">')), `<img src="${await tagged("4711")}">`);
  await assert.rejects(rewriter.by("a b").html(""), TypeError);

  // Ten times as much takes about ten times as long; it would be a hundred times
  // where each tag is looked at from each other.
  const small = hostile(30_000);
  for (const [i, [format, name, post]] of hostile(300_000).entries()) {
    const short = await processor(() => rewriter[format](small[i][2]));
    let out;
    const long = await processor(async () => (out = await rewriter[format](post)));
    assert.ok(long < 30 * short + 150, `hostile: ${name}: ${long} ms, and ${short} ms for a tenth`);
    assert.ok((await rewriter[format](out)) === out, `hostile: ${name}, again`);
  }
  const post = `<img alt="${"x".repeat(1 << 20)}" src=https://e.example/1.png>`;
  assert.ok((await rewriter.html(post)) === post.replace("https://e.example/1.png", await signer.link("https://e.example/1.png")), "a tag of 1 MB");

  // 10,000 images: half a second is asked for; a machine may be four times as slow.
  for (const [format, image] of [
    ["html", (i) => `<p><img src="https://host${i}.example/${i}.png?a=1&amp;b=2" alt="x"></p>`],
    ["bbcode", (i) => `text [img]https://host${i}.example/${i}.png?a=1&b=2[/img]\n`],
  ]) {
    const images = Array.from({ length: 10_000 }, (_, i) => image(i)).join("");
    let out;
    const time = await processor(async () => (out = await rewriter[format](images)));
    assert.equal(out.split("https://img.example.net/i/full/").length, 10_001, format);
    assert.ok(time < 2000, `10,000 images, ${format}: ${time} ms`);
    if (process.env.SHOW_TIMES) {
      console.error(`10,000 images, ${format}: ${time} ms`);
    }
  }
}
