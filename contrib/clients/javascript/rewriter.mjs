import { readTag, lower, scan, skip } from "./html.mjs";
import { decode, decodeAt } from "./references.mjs";

/** BBCodes whose content forums show as it was written. */
export const VERBATIM = ["code", "php", "html", "sql", "xml", "plain", "noparse", "nobbc", "pre", "icode", "inlinecode", "codebox", "highlight", "tex"];

/** BBCodes of images. */
export const IMAGES = ["img", "img2", "image", "imgl", "imgr", "imgleft", "imgright", "imgnu", "imgw", "limg", "rimg", "thumb", "thumbnail", "timg"];

/** What stands in the place of a foreign URL that no link can hold. It shows a broken image. */
const nothing = "data:,";

/** Attributes of BBCodes of images, and keys of their JSON, that hold URLs. */
const bbcodeUrls = new Set(["src", "url", "data-src", "data-url", "thumb", "thumbnail", "image", "content"]);

const spaces = /[\t\n\f\r ]*/y;
const tagName = /[0-9A-Za-z_*-]*/y;
const attributeName = /[0-9A-Za-z_-]*/y;
const uid = /[^\t\n\f\r =[\]"']*/y;
const unquoted = /[^\t\n\f\r [\]"']*/y;
const beforeBrackets = /[^[\]]*/y;
const beforeBracket = /[^[]*/y;
const nonSpaces = /[^\t\n\f\r ]*/y;
const line = /[^\r\n]*/y;

/**
 * Turns the images of a forum's post into signed links: in BBCode before it is
 * rendered, in HTML after it was rendered and made safe, in what phpBB stores. For
 * Node 18 or later; it does the same as php/ImgkeepRewriter.php, which says more.
 *
 * What it promises: no image tag of another site's host is left, in any of the
 * spellings that browsers and forums know; nothing else changes by a byte; what
 * has been rewritten stays as it is when it is rewritten again; the time grows
 * with the length of the post, whatever stands in it. It is no filter and makes no
 * HTML safe that was not.
 *
 *     const rewriter = new Rewriter(new Signer("https://img.example.net", secret), { own: ["forum.example.org"] });
 *     await rewriter.html(post);
 */
export class Rewriter {
  #signer;
  #size;
  #own;
  #verbatim;
  #images;
  #by; // the member whose posts are rewritten; undefined: links do not say

  /**
   * @param {import("./imgkeep.mjs").Signer} signer
   * @param {{size?: string, own?: string[], verbatim?: string[], images?: string[]}} [options]
   *   size of images in posts: "full"; own: hosts whose images stay as they are, the
   *   site's own (that of the links is one); verbatim: BBCodes whose content stays as
   *   it is (name only those that your forum knows: it shows the images in others);
   *   images: BBCodes of images
   */
  constructor(signer, { size = "full", own = [], verbatim = VERBATIM, images = IMAGES, ...unknown } = {}) {
    for (const name of Object.keys(unknown)) {
      throw new TypeError(`imgkeep: unknown option ${name}`);
    }
    const host = /^(?:https?:)?\/\/(\[[^\]]*\]|[^/:]+)/i.exec(signer.base);
    this.#signer = signer;
    this.#size = size;
    this.#own = new Set((host ? [...own, host[1]] : own).map(lower));
    this.#verbatim = new Set(verbatim.map(lower));
    this.#images = new Set(images.map(lower));
  }

  /**
   * The same rewriter for the posts of a member, such as by their number: `imgkeep list
   * --by` then finds their images, see Signer.tagged. Where it cannot be a tag, rewriting is
   * rejected with a TypeError.
   *
   * @param {string} member
   */
  by(member) {
    const copy = new Rewriter(this.#signer, { size: this.#size, own: [...this.#own], verbatim: [...this.#verbatim], images: [...this.#images] });
    copy.#by = String(member);
    return copy;
  }

  /**
   * Rewrites the images of BBCode: [img]URL[/img], [img=URL], with a size, with
   * attributes, phpBB 3.0's [img:uid], vBulletin's [IMG2=JSON]. URLs may be escaped
   * as in HTML (SMF and phpBB store them so).
   *
   * @param {string} post
   * @returns {Promise<string>} rejected with a TypeError where every server would
   *   refuse the size; so do the others
   */
  bbcode(post) {
    return this.#rewrite(post, (edit) => scanBBCode(post, this.#verbatim, this.#images, edit));
  }

  /** Rewrites the images of HTML. */
  html(html) {
    return this.#rewrite(html, (edit) => scan(html, edit));
  }

  /**
   * Rewrites what phpBB stores: XML since 3.2, of which only attributes count that
   * images are rendered from, so that editing shows what the author wrote; BBCode
   * with uids before.
   */
  phpbb(stored) {
    if (!/^<[rt][ >]/.test(stored)) {
      return this.bbcode(stored);
    }
    return this.#rewrite(stored, (edit) => {
      for (let i = 0; (i = stored.indexOf("<", i)) >= 0; ) {
        if (!/[A-Za-z]/.test(stored[i + 1] ?? "")) {
          i++;
          continue;
        }
        const tag = readTag(stored, i, bbcodeUrls);
        i = tag.end;
        for (const [from, to] of this.#images.has(tag.name) ? tag.attributes.values() : []) {
          edit(from, to, decode(stored.slice(from, to)));
        }
      }
    });
  }

  async #rewrite(post, find) {
    const sign = async (url) => this.#signer.link(this.#by === undefined ? url : await this.#signer.tagged(url, this.#by), { size: this.#size });
    await sign("https://example.com/"); // throws
    const urls = new Map(); // as they stand in the post, to what is signed, or null
    const edits = [];
    find((from, to, text) => {
      if (!urls.has(text)) {
        urls.set(text, foreign(text, this.#own));
      }
      const url = urls.get(text);
      if (url !== null) {
        edits.push([from, to, url]);
      }
      return url !== null;
    });
    const links = new Map();
    for (const [, , url] of edits) {
      if (!links.has(url)) {
        links.set(url, sign(url).catch(() => nothing)); // it is too long
      }
    }
    await Promise.all(links.values());
    edits.sort((a, b) => a[0] - b[0]);
    const out = [];
    let at = 0;
    for (const [from, to, url] of edits) {
      if (from < at) {
        continue; // in a place that is rewritten already, by another reading
      }
      out.push(post.slice(at, from), await links.get(url));
      at = to;
    }
    out.push(post.slice(at));
    return out.join("");
  }
}

/** An image's URL as browsers read it; null where it is no other site's. */
function foreign(text, own) {
  let from = 0;
  let to = text.length;
  while (from < to && text[from] <= " ") {
    from++;
  }
  while (to > from && text[to - 1] <= " ") {
    to--;
  }
  const url = text.slice(from, to).replace(/[\t\n\r]+/g, "");
  const m = /^(?:(https?):[/\\]*|[/\\]{2,})([^/\\?#]*)([^?#]*)/i.exec(url);
  if (!m) {
    return null; // of this site, or data:, which is no matter of imgkeep's
  }
  const [all, scheme, authority, path] = m;
  const host = authority.slice(authority.lastIndexOf("@") + 1); // no link holds a user name
  let name = lower(host.replace(/:[0-9]*$/, ""));
  try {
    name = decodeURIComponent(name);
  } catch {
    // not encoded
  }
  if (name === "" || own.has(name)) {
    return null;
  }
  const clean = `${lower(scheme ?? "https")}://${host}${path.replaceAll("\\", "/")}${url.slice(all.length)}`;
  return clean.replace(/[\x00-\x1f\x7f]/g, encodeURIComponent);
}

/** Reports the images of BBCode. */
function scanBBCode(s, verbatim, images, edit) {
  const state = { s, images, edit, closing: new Map(), quotes: { '"': true, "'": true }, json: new Map(), seen: new Set() };
  let covered = 0;
  let bracket = -1;
  for (let i = 0; (i = s.indexOf("[", i)) >= 0; ) {
    const after = skip(s, tagName, i + 1);
    const c = s[after];
    if (after === i + 1 || c === undefined || !/[\]=:\t\n\f\r ]/.test(c)) {
      i++;
      continue;
    }
    if (bracket < after) { // the next one; looked for once, however many tags are open
      bracket = s.indexOf("]", after);
      if (bracket < 0) {
        break; // no tag ends any more
      }
    }
    const name = lower(s.slice(i + 1, Math.min(after, i + 65)));
    const end = endOfTag(state, after) ?? bracket;
    let next = after;
    if (verbatim.has(name)) {
      // [url="[code]"] opens no code in some forums.
      if (i >= covered) {
        next = closingTag(state, name, end + 1)?.[1] ?? next;
      }
    } else if (images.has(name)) {
      // What is in the URL opens no code either.
      covered = Math.max(covered, image(state, name, after, bracket, end));
    }
    if (c === "=" || end > bracket) {
      covered = Math.max(covered, end);
    }
    i = next;
  }
}

/**
 * Where a tag ends whose attributes are read with their quotes; null where they are
 * malformed. However many tags are open, each character is read three times at
 * most: runs that begin at different tags are in different states.
 */
function endOfTag(state, i) {
  const { s } = state;
  if (s[i] === ":") {
    i = skip(s, uid, i);
  }
  if (s[i] === "=" && (i = endOfValue(state, i + 1)) === null) {
    return null;
  }
  for (let gap; (gap = skip(s, spaces, i)) > i; ) {
    i = skip(s, attributeName, gap);
    if (i === gap) {
      break;
    }
    if (s[i] === "=" && (i = endOfValue(state, i + 1)) === null) {
      return null;
    }
  }
  return s[i] === "]" ? i : null;
}

function endOfValue({ s, quotes }, i) {
  const quote = s[i];
  if (quote !== '"' && quote !== "'") {
    return skip(s, unquoted, i);
  }
  const end = quotes[quote] ? s.indexOf(quote, i + 1) : -1;
  quotes[quote] = end >= 0; // whether it can still come
  return end < 0 ? null : end + 1;
}

/** Where the next closing tag begins and ends, or null. */
function closingTag({ s, closing }, name, from) {
  let known = closing.get(name);
  if (known === undefined || (known !== null && known[0] < from)) {
    const escaped = name.replace(/[^0-9a-z]/g, "\\$&");
    const pattern = new RegExp(`\\[/${escaped}(?::[^[\\]\\t\\n\\v\\f\\r ]*)?[\\t\\n\\f\\r ]*\\]`, "gi");
    pattern.lastIndex = from;
    const m = pattern.exec(s);
    known = m ? [m.index, pattern.lastIndex] : null;
    closing.set(name, known);
  }
  return known;
}

/**
 * Rewrites an image whose name ends at after. Some forums end its tag at the first
 * bracket, some at one that is not in quotes. It returns where its URL ends.
 */
function image(state, name, after, bracket, end) {
  const { s } = state;
  // A URL in the tag itself.
  const start = s[after] === ":" ? skip(s, uid, after) : after;
  const to = end > bracket ? end : skip(s, beforeBrackets, start);
  if (s[start] === "=") {
    tagValue(state, start + 1, to, true);
  }
  if (to > start) {
    for (const m of s.slice(start, to).matchAll(/[\t\n\f\r ]([a-z-]+)=/gi)) {
      if (bbcodeUrls.has(lower(m[1]))) {
        tagValue(state, start + m.index + m[0].length, to, false);
      }
    }
  }
  let next = after;
  for (const tagEnd of new Set([bracket, end])) {
    if (tagEnd >= next) {
      next = content(state, name, tagEnd + 1) ?? next;
    }
  }
  return next;
}

const endOfQuote = { '"': /[^"]*/y, "'": /[^']*/y };

/** Rewrites the value at from, of a tag that ends at to. Where it is the tag's own, it may hold spaces. */
function tagValue({ s, edit }, from, to, maySpace) {
  const run = endOfQuote[s[from]];
  if (run) {
    from++;
    to = Math.max(from, Math.min(to, skip(s, run, from)));
  } else if (!maySpace) {
    to = Math.max(from, Math.min(to, skip(s, nonSpaces, from)));
  } else {
    const next = s.slice(from, to).search(/[\t\n\f\r ][a-z-]+=/i);
    to = next < 0 ? to : from + next;
  }
  from = Math.min(to, skip(s, spaces, from));
  to = from + trimEnd(s.slice(from, to)).length;
  if (from < to) {
    edit(from, to, decode(s.slice(from, to)));
  }
}

/** Rewrites the URL between the tags of an image, and returns where it ends; null where nothing is. */
function content(state, name, from) {
  const { s, images, edit } = state;
  from = skip(s, spaces, from);
  const key = `${name} ${from}`;
  if (from >= s.length || state.seen.has(key)) {
    return null;
  }
  state.seen.add(key); // once, however many tags end here
  if (s[from] === "{") {
    json(state, name, from);
    return null; // another image may begin in it
  }
  const tag = /\[(\/?)([a-z0-9_-]+)[\]:=\t\n\f\r ]/iy;
  let first = null;
  let i = from;
  for (; (i = skip(s, beforeBracket, i)) < s.length; i++) {
    // Brackets belong to the URL, as in "[Group] Name [720p].png", unless a tag is
    // closed in it or another image begins.
    tag.lastIndex = i;
    const m = tag.exec(s);
    if (m) {
      const inner = lower(m[2]);
      if (m[1] === "/") {
        i = inner === name ? i : (first ?? i);
        break;
      }
      if (images.has(inner)) {
        break;
      }
    }
    first ??= i;
  }
  if (i >= s.length || closingTag(state, name, i) === null) {
    return null;
  }
  const text = trimEnd(s.slice(from, i));
  for (const url of [trimEnd(text.slice(0, skip(text, line, 0))), text]) {
    if (url !== "" && edit(from, from + url.length, decode(url))) {
      return from + url.length;
    }
  }
  return null;
}

const inString = /[^"\\]*/y;

/** Rewrites the JSON of vBulletin's [IMG2=JSON]. */
function json(state, name, from) {
  const closing = closingTag(state, name, from);
  if (closing === null) {
    return;
  }
  let to = closing[0];
  if (from >= (state.json.get(name) ?? 0)) {
    state.json.set(name, to);
  } else { // this text was read for a tag before; each is read twice at most
    const open = new RegExp(`\\[${name.replace(/[^0-9a-z]/g, "\\$&")}[=\\]]`, "gi");
    open.lastIndex = from;
    to = Math.min(to, open.exec(state.s)?.index ?? to);
  }
  const [text, position] = decodeAt(state.s.slice(from, to), from);
  const colon = /"[\t\n\r ]*:[\t\n\r ]*(?=")/y;
  let key = null;
  for (let i = 0; (i = text.indexOf('"', i)) >= 0; i++) {
    const start = ++i;
    while ((i = skip(text, inString, i)) < text.length && text[i] === "\\") {
      i += 2;
    }
    if (i >= text.length) {
      break;
    }
    const value = parse(text.slice(start, i));
    if (value !== null && key !== null && bbcodeUrls.has(lower(key))) {
      state.edit(position(start), position(i), value);
    }
    colon.lastIndex = i;
    key = colon.test(text) ? value : null;
  }
}

function parse(string) {
  try {
    return JSON.parse(`"${string}"`);
  } catch {
    return null;
  }
}

function trimEnd(s) {
  let end = s.length;
  while (end > 0 && "\t\n\f\r ".includes(s[end - 1])) {
    end--;
  }
  return s.slice(0, end);
}
