// Secrets that stand in examples.
const wellKnown = ["changeme", "change-me", "secret", "password", "example", "imgkeep", "0123456789abcdef", "1234567890123456"];

/**
 * Signs links to images that imgkeep serves. Node 18 or later, Deno, Bun, workers
 * and browsers; no dependencies. Browsers have WebCrypto only, hence the promises.
 *
 *     const imgkeep = new Signer("https://img.example.net", secret);
 *     await imgkeep.link("https://example.com/cat.jpg", { size: "250x250" });
 *
 * A secret that is sent to browsers is none: there it is for pages that only an
 * operator sees. Sign on the server.
 */
export class Signer {
  #base;
  #secret;
  #bucket;
  #keys = new Map(); // week -> promise of its key: one week, two around its end

  /**
   * @param {string} base what stands before a link, as "https://img.example.net", or ""
   * @param {string} secret the one that the server has too, or all that its file
   *   holds: one line end at the end does not count, spaces do
   * @param {{bucket?: string, allowWeakSecret?: boolean}} [options] bucket of links
   *   that name no other: "i"; accept a secret that is short or well known, for tests
   * @throws {TypeError} where the server would refuse the secret, or the base is none
   */
  constructor(base, secret, { bucket = "i", allowWeakSecret = false, ...unknown } = {}) {
    noneOf(unknown);
    if (!/^(?:(?:https?:)?\/\/[a-z0-9._:[\]-]+)?(?:\/[a-z0-9._~%-]*)*$/i.test(base)) {
      throw new TypeError(`imgkeep: base "${base}": want one as https://img.example.net, or none`);
    }
    this.#base = base.replace(/\/+$/, "");
    this.#secret = parseSecret(secret, allowWeakSecret);
    this.#bucket = bucket;
  }

  /** What stands before links, without a slash at its end. */
  get base() {
    return this.#base;
  }

  /**
   * The link of an image.
   *
   * @param {string} url of the image, not escaped for HTML
   * @param {{size?: string, bucket?: string, proxy?: boolean, at?: number}} [options]
   *   size: full, info, or height x width as in 250x250, 150x, x200; proxy: serve
   *   the image and do not store it, with size full; at: unix time of signing, in
   *   seconds, now if absent
   * @returns {Promise<string>} rejected with a TypeError where every server would
   *   refuse the link
   */
  async link(url, { size = "full", bucket = this.#bucket, proxy = false, at = Date.now() / 1000, ...unknown } = {}) {
    noneOf(unknown);
    check(url, size, bucket, proxy);
    const bytes = new TextEncoder();
    const ext = base64url(bytes.encode(url)) + (proxy ? "/proxy" : "");
    const mac = await this.#mac(isoWeek(at), `${bucket}/${ext}`);
    const path = `/${bucket}/${size}/${base64url(new Uint8Array(mac).subarray(0, 12))}/${ext}`;
    if (path.length > 4096) {
      throw new TypeError("imgkeep: the URL is too long: a link has at most 4096 bytes");
    }
    return this.#base + path;
  }

  /**
   * The URL of an image with a tag that says for whom its link is signed, such as the
   * number of a member: what link is to be called with. Then `imgkeep list --by` finds all
   * images of the member. Anybody can read the tag in the link; nobody else can make one.
   *
   * @param {string} url of the image
   * @param {string} by the tag: 1 to 64 of A-Z, a-z, 0-9, _ and -
   * @returns {Promise<string>} rejected with a TypeError where by cannot be a tag
   */
  async tagged(url, by) {
    if (typeof by !== "string" || !/^[A-Za-z0-9_-]{1,64}$/.test(by)) {
      throw new TypeError(`imgkeep: tag "${by}": want 1 to 64 of A-Z, a-z, 0-9, _ and -`);
    }
    const plain = url.split("#", 1)[0];
    const mac = await this.#mac("", `imgkeep by\n${by}\n${plain}`);
    return `${plain}#imgkeep-by=${by}.${base64url(new Uint8Array(mac).subarray(0, 12))}`;
  }

  async #mac(week, message) {
    const node = await nodeCrypto;
    if (node) {
      return node.createHmac("sha256", this.#secret + week).update(message).digest();
    }
    const crypto = globalThis.crypto;
    return crypto.subtle.sign("HMAC", await this.#key(crypto, week), new TextEncoder().encode(message));
  }

  #key(crypto, week) {
    let key = this.#keys.get(week);
    if (!key) {
      if (this.#keys.size > 1) {
        this.#keys.clear();
      }
      const raw = new TextEncoder().encode(this.#secret + week);
      key = crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
      this.#keys.set(week, key);
    }
    return key;
  }
}

/** The secret in a text: what the server makes of the same text. No error shows it. */
function parseSecret(text, allowWeak) {
  const secret = typeof text === "string" ? text.replace(/(?:\r?\n|\r)$/, "") : "";
  const bytes = new TextEncoder().encode(secret).length;
  let why = "";
  if (secret === "") {
    why = "the secret is empty";
  } else if (bytes > 4096) {
    why = "the secret has more than 4096 bytes";
  } else if (/[\ud800-\udfff]/u.test(secret)) {
    why = "the secret has no UTF-8";
  } else if (/[\x00-\x1f\x7f-\x9f]/.test(secret)) {
    why = "the secret is not one line of text";
  } else if (allowWeak) {
    // as it is
  } else if (bytes < 16) {
    why = `weak secret: it has ${bytes} bytes, fewer than 16`;
  } else if (wellKnown.includes(secret.trim().toLowerCase())) {
    why = "weak secret: it is a well-known one";
  } else if (/^([\x00-\x7f])\1*$/.test(secret)) {
    why = "weak secret: it repeats one character";
  }
  if (why) {
    throw new TypeError(`imgkeep: ${why}; \`openssl rand -base64 32\` makes a good one`);
  }
  return secret;
}

/** Refuses what no server would serve, whatever its configuration. */
function check(url, size, bucket, proxy) {
  let why = "";
  if (!/^[a-z0-9]{1,16}$/.test(bucket)) {
    why = `bucket "${bucket}": want 1 to 16 of a-z and 0-9`;
  } else if (
    !/^(?:[1-9][0-9]{0,4}x(?:[1-9][0-9]{0,4})?|x[1-9][0-9]{0,4})$/.test(size) &&
    !/^(?![0-9]*x[0-9]*$)[a-z][a-z0-9_-]{0,22}$/.test(size) // a preset; full and info have its form
  ) {
    why = `size "${size}": want full, info, height x width as in 250x250, 150x, x200, or the name of a preset`;
  } else if (proxy && size !== "full") {
    why = "what is not stored has the size full only";
  } else if (typeof url !== "string" || url === "") {
    why = "the URL is empty";
  } else if (/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/.test(url)) {
    why = "the URL holds a control character";
  }
  if (why) {
    throw new TypeError(`imgkeep: ${why}`);
  }
}

function noneOf(unknown) {
  for (const name of Object.keys(unknown)) {
    throw new TypeError(`imgkeep: unknown option ${name}`);
  }
}

/** The ISO 8601 year and week of a unix time, in UTC, as "202653". */
function isoWeek(at) {
  const day = 86_400_000;
  const t = new Date(at * 1000);
  // The Thursday of a week decides which year it belongs to.
  const thursday = Date.UTC(t.getUTCFullYear(), t.getUTCMonth(), t.getUTCDate() - ((t.getUTCDay() + 6) % 7) + 3);
  const year = new Date(thursday).getUTCFullYear();
  const week = 1 + Math.floor((thursday - Date.UTC(year, 0, 1)) / day / 7);
  return String(year).padStart(4, "0") + String(week).padStart(2, "0");
}

function base64url(bytes) {
  if (globalThis.Buffer) {
    return globalThis.Buffer.from(bytes).toString("base64url");
  }
  let binary = "";
  for (const b of bytes) {
    binary += String.fromCharCode(b);
  }
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** Node's own is ten times as fast as WebCrypto for so short texts. A browser has WebCrypto on https pages. */
const nodeCrypto = globalThis.process?.versions?.node ? import("node:crypto") : Promise.resolve(null);
