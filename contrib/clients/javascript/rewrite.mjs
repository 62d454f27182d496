// node rewrite.mjs FILE: the posts of a file, [format, post] each, rewritten once
// and twice; posts_test.go compares languages.

import { readFileSync } from "node:fs";
import { Signer } from "./imgkeep.mjs";
import { Rewriter } from "./rewriter.mjs";

const rewriter = new Rewriter(new Signer("https://img.example.net", "a long enough secret"), { own: ["forum.example.org"] });
const out = [];
for (const [format, post] of JSON.parse(readFileSync(process.argv[2], "utf8"))) {
  const once = await rewriter[format](post);
  out.push([once, await rewriter[format](once)]);
}
process.stdout.write(JSON.stringify(out));
