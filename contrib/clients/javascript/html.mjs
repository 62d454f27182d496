/**
 * Finds the URLs of images in HTML, for rewriter.mjs, by the rules of the WHATWG's
 * tokenizer: tags, attributes with and without quotes, character references,
 * comments, elements whose content is text, SVG and MathML.
 */
import { character, decode, decodeAt } from "./references.mjs";

const src = ["src", "data-src", "data-url", "data-original", "data-lazy-src", "lowsrc"];
const background = ["background"];

/** Attributes that hold the URL of an image, by element. */
const urlsOf = new Map(
  Object.entries({
    img: src,
    image: ["src", "data-src", "href", "xlink:href"], // <image> is <img> in HTML
    feimage: ["href", "xlink:href"],
    input: ["src", "data-src"], // of type image
    object: ["data"], // of type image/…
    embed: ["src"], // of type image/…
    video: ["poster", "data-poster"],
    body: background,
    table: background,
    thead: background,
    tbody: background,
    tfoot: background,
    tr: background,
    td: background,
    th: background,
  }),
);

/** Attributes that hold several, and their elements. */
const srcsets = new Set(["srcset", "data-srcset", "data-lazy-srcset"]);
const haveSrcset = new Set(["img", "source", "image"]);

/** Attributes that hold CSS, of all elements. */
const cssIn = new Set(["style", "fill", "stroke", "filter", "mask", "clip-path", "cursor", "marker", "marker-start", "marker-mid", "marker-end"]);

/** Attributes that say what an element is. */
const facts = ["type", "class", "color", "face", "size", "encoding"];

const wanted = new Set([...srcsets, ...cssIn, ...facts, ...[...urlsOf.values()].flat()]);

/** Elements whose content is text, in HTML. script, noscript and plaintext have rules of their own. */
const raw = new Set(["style", "title", "textarea", "xmp", "iframe", "noembed", "noframes"]);

/** Elements that end SVG and MathML, and those in which these have HTML. */
const breakout = new Set(
  (
    "b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i img li listing menu meta nobr ol p pre " +
    "ruby s small span strong strike sub sup table tt u ul var"
  ).split(" "),
);
const integration = new Set([
  ...["svg foreignobject", "svg desc", "svg title"],
  ...["math mi", "math mo", "math mn", "math ms", "math mtext", "html annotation-xml"],
]);

const letter = /[A-Za-z]/;
const spaces = /[\t\n\f\r ]*/y;
const gaps = /[\t\n\f\r /]*/y;
const tagName = /[^\t\n\f\r />]*/y;
const attributeName = /=?[^\t\n\f\r />=]*/y;
const unquoted = /[^\t\n\f\r >]*/y;

/** Where a run of characters ends that begins at i: a sticky expression that may be empty. */
export function skip(s, run, i) {
  if (i >= s.length) {
    return s.length;
  }
  run.lastIndex = i;
  run.test(s);
  return run.lastIndex;
}

/** Small letters of ASCII, as HTML compares names: no other letter becomes one of ASCII. */
export function lower(s) {
  return s.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

/**
 * Reports the images of HTML. noscript is read as text, which it is to most
 * browsers, and as HTML.
 *
 * @param {string} html
 * @param {(from: number, to: number, url: string) => boolean} edit is told where a
 *   URL begins and ends, and the URL
 */
export function scan(html, edit) {
  scanAs(html, edit, false);
  if (/<noscript/i.test(html)) {
    scanAs(html, edit, true);
  }
}

function scanAs(html, edit, scripting) {
  const foreign = []; // open elements of SVG and MathML, each after its language
  const count = new Map(); // of them, by name
  const open = new Map(); // elements of HTML, by name: how many are open
  for (let i = 0; (i = html.indexOf("<", i)) >= 0; ) {
    let inForeign = foreign.length > 0 && !integration.has(foreign[foreign.length - 1]);
    const closes = html[i + 1] === "/";
    const c = html[i + (closes ? 2 : 1)] ?? "";
    if (!letter.test(c)) {
      i = closes || c === "!" || c === "?" ? endOfMarkup(html, i, inForeign) : i + 1;
      continue;
    }
    const tag = readTag(html, closes ? i + 1 : i, wanted);
    const { name, attributes } = tag;
    i = tag.end;
    if (closes) {
      closeElement(name, inForeign, foreign, count, open);
      continue;
    }
    if (inForeign && (breakout.has(name) || (name === "font" && ["color", "face", "size"].some((a) => attributes.has(a))))) {
      leaveForeign(foreign, count);
      inForeign = false;
    }
    element(html, name, attributes, edit);
    if (inForeign || name === "svg" || name === "math") {
      if (!tag.selfClosing) {
        let language = inForeign ? foreign[foreign.length - 1].split(" ")[0] : name;
        if (name === "annotation-xml" && ["text/html", "application/xhtml+xml"].includes(valueOf(html, attributes, "encoding"))) {
          language = "html";
        }
        foreign.push(`${language} ${name}`);
        count.set(name, (count.get(name) ?? 0) + 1);
      }
    } else if (name === "plaintext") {
      i = html.length;
    } else if (name === "script") {
      i = endOfScript(html, i);
    } else if (raw.has(name) || (scripting && name === "noscript")) {
      const from = i;
      i = endOfRaw(html, name, i);
      if (name === "style") {
        css(html.slice(from, i), (at) => from + at, edit);
      }
    } else {
      open.set(name, (open.get(name) ?? 0) + 1);
    }
  }
}

/**
 * Reads the tag whose "<" (or "/" of "</") stands at i. One that never ends is read
 * to the end: what comes behind the post ends it. attributes says where the values
 * of those are that are wanted, of the first of a name.
 */
export function readTag(s, i, wanted) {
  let start = ++i;
  i = skip(s, tagName, i);
  const name = lower(s.slice(start, Math.min(i, start + 64)));
  const attributes = new Map();
  for (;;) {
    start = i;
    i = skip(s, gaps, i);
    if (i >= s.length) {
      return { name, attributes, selfClosing: false, end: i };
    }
    if (s[i] === ">") {
      return { name, attributes, selfClosing: i > start && s[i - 1] === "/", end: i + 1 };
    }
    start = i;
    i = skip(s, attributeName, i);
    const attribute = lower(s.slice(start, Math.min(i, start + 32)));
    const equals = skip(s, spaces, i);
    if (s[equals] !== "=") {
      continue;
    }
    i = skip(s, spaces, equals + 1);
    let from = i;
    let to;
    if (s[i] === '"' || s[i] === "'") {
      from = i + 1;
      to = s.indexOf(s[i], from);
      to = to < 0 ? s.length : to;
      i = Math.min(to + 1, s.length);
    } else {
      i = to = skip(s, unquoted, i);
    }
    if (wanted.has(attribute) && !attributes.has(attribute)) {
      attributes.set(attribute, [from, to]);
    }
  }
}

/** The value of an attribute, in small letters. */
function valueOf(s, attributes, attribute) {
  return lower(decode(s.slice(...(attributes.get(attribute) ?? [0, 0]))));
}

/** Rewrites the attributes of an element. */
function element(s, name, attributes, edit) {
  const value = (attribute) => valueOf(s, attributes, attribute);
  let urls = urlsOf.get(name) ?? [];
  if ((name === "input" && value("type") !== "image") || ((name === "object" || name === "embed") && !value("type").trim().startsWith("image/"))) {
    urls = [];
  } else if (attributes.has("data-src") && attributes.has("class") && /(?:^|\s)(?:lbcontainer-zoomer|bbimagewrapper|js-lbimage)(?![^\s-])/.test(value("class"))) {
    urls = [...urls, "data-src"]; // XenForo's lightbox
  }
  for (const [attribute, [from, to]] of attributes) {
    if (urls.includes(attribute)) {
      edit(from, to, decode(s.slice(from, to)));
    } else if (srcsets.has(attribute) && haveSrcset.has(name)) {
      srcset(...decodeAt(s.slice(from, to), from), edit);
    } else if (cssIn.has(attribute)) {
      css(...decodeAt(s.slice(from, to), from), edit);
    }
  }
}

const separators = /[\t\n\f\r ,]*/y;
const nonSpaces = /[^\t\n\f\r ]*/y;
const descriptor = /[^(),]*/y;

function srcset(s, position, edit) {
  for (let i = 0; (i = skip(s, separators, i)) < s.length; ) {
    const from = i;
    i = skip(s, nonSpaces, i);
    let end = i;
    while (s[end - 1] === ",") {
      end--;
    }
    edit(position(from), position(end), s.slice(from, end));
    if (end < i) {
      continue; // without a descriptor
    }
    for (let inside = false; i < s.length; i++) { // the descriptors
      i = skip(s, descriptor, i);
      inside = s[i] === "(" || (inside && s[i] !== ")");
      if (s[i] === "," && !inside) {
        break;
      }
    }
  }
}

const notCss = /[^/"'@;}0-9A-Za-z_\\\x80-\uffff-]*/y;
const letters = /[0-9A-Za-z_\\\x80-\uffff-]*/y;

/** Rewrites url(…) in CSS, and the strings of image-set(). Fonts and style sheets stay. */
function css(s, position, edit) {
  if (!/[(\\]/.test(s)) {
    return;
  }
  const strings = /image-set/i.test(s);
  let ignored = ""; // the character that ends what is no matter of images
  for (let i = 0; (i = skip(s, notCss, i)) < s.length; ) {
    const c = s[i];
    if (c === "/" && s[i + 1] === "*") {
      const end = s.indexOf("*/", i + 2);
      i = end < 0 ? s.length : end + 2;
    } else if (c === '"' || c === "'") {
      const from = ++i;
      i = endOfCssString(s, i, c);
      if (strings && ignored === "") {
        edit(position(from), position(i), unescapeCss(s.slice(from, i)));
      }
      i++;
    } else if (c === "/" || c === ";" || c === "}") {
      ignored = ignored === c ? "" : ignored;
      i++;
    } else {
      const from = i;
      i += c === "@" ? 1 : 0;
      for (let end; (end = skip(s, letters, i)) > i; ) { // an escape may end in a space
        i = end;
        if (/\\[0-9a-f]{1,6}$/i.test(s.slice(Math.max(from, i - 7), i))) {
          i += /[\t\n\f\r ]/.test(s[i] ?? "") ? 1 : 0;
        } else if (s[i - 1] === "\\") {
          i++;
        }
      }
      i = Math.min(i, s.length);
      const word = i - from > 64 ? "" : lower(unescapeCss(s.slice(from, i)));
      if (word === "@import" || word === "@namespace") {
        ignored = ";";
      } else if (word === "@font-face") {
        ignored = "}";
      } else if (word === "url" && s[i] === "(") {
        i = cssUrl(s, i, position, ignored === "" ? edit : () => false);
      }
    }
  }
}

const plainUrl = /[^\t\n\f\r )\\]*/y;

/** Reads url(…) whose bracket stands at i, and returns where its value ends. */
function cssUrl(s, i, position, edit) {
  i = skip(s, spaces, i + 1);
  const quote = s[i];
  let from = i;
  let to;
  if (quote === '"' || quote === "'") {
    from = i + 1;
    to = endOfCssString(s, from, quote);
    i = to + 1;
  } else {
    while ((i = skip(s, plainUrl, i)) < s.length && s[i] === "\\") {
      i += 2;
    }
    to = i = Math.min(i, s.length);
  }
  edit(position(from), position(to), unescapeCss(s.slice(from, to)));
  return i;
}

const inDouble = /[^"\\\n\r\f]*/y;
const inSingle = /[^'\\\n\r\f]*/y;

function endOfCssString(s, i, quote) {
  const run = quote === '"' ? inDouble : inSingle;
  while ((i = skip(s, run, i)) < s.length && s[i] === "\\") {
    i += 2;
  }
  return Math.min(i, s.length);
}

function unescapeCss(s) {
  return s.replace(/\\(?:([0-9a-f]{1,6})(?:\r\n|[\t\n\f\r ])?|\r\n|[\n\r\f]|([^])|$)/gi, (_, code, char) =>
    code ? character(parseInt(code, 16)) : (char ?? ""),
  );
}

/** The end of a comment, a doctype, a processing instruction or CDATA at i. */
function endOfMarkup(s, i, foreign) {
  if (s.startsWith("<!--", i)) {
    const end = /--!?>/g;
    end.lastIndex = i + 4;
    const short = /^-?>/.exec(s.slice(i + 4, i + 6)); // <!--> and <!--->
    return short ? i + 4 + short[0].length : end.test(s) ? end.lastIndex : s.length;
  }
  const mark = foreign && s.startsWith("<![CDATA[", i) ? "]]>" : ">";
  const end = s.indexOf(mark, i);
  return end < 0 ? s.length : end + mark.length;
}

function endOfRaw(s, name, i) {
  const pattern = new RegExp(`</${name}[\\t\\n\\f\\r />]`, "gi");
  pattern.lastIndex = i;
  return pattern.exec(s)?.index ?? s.length;
}

/** The end of a script, in which "<!--" and "<script" hide one "</script>". */
function endOfScript(s, i) {
  const pattern = /<!--|-->|<(\/?)script[\t\n\f\r />]/gi;
  let escaped = false;
  let double = false;
  pattern.lastIndex = i;
  for (let m; (m = pattern.exec(s)); ) {
    if (m[0] === "<!--") {
      escaped = true;
      pattern.lastIndex -= 2; // its dashes may belong to "-->"
    } else if (m[0] === "-->") {
      escaped = double = false;
    } else if (m[1] === "") {
      double = escaped;
    } else if (double) {
      double = false;
    } else {
      return m.index;
    }
  }
  return s.length;
}

function leaveForeign(foreign, count) {
  while (foreign.length > 0 && !integration.has(foreign[foreign.length - 1])) {
    const name = foreign.pop().split(" ")[1];
    count.set(name, count.get(name) - 1);
  }
}

function closeElement(name, inForeign, foreign, count, open) {
  const isOpen = (open.get(name) ?? 0) > 0;
  if (inForeign && (name === "p" || name === "br")) {
    leaveForeign(foreign, count);
  } else if ((count.get(name) ?? 0) > 0 && (inForeign || !isOpen)) {
    let last;
    do {
      last = foreign.pop().split(" ")[1];
      count.set(last, count.get(last) - 1);
    } while (last !== name);
  } else if (isOpen) {
    open.set(name, open.get(name) - 1);
    if (inForeign) {
      leaveForeign(foreign, count);
    }
  }
}
