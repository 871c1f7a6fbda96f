// The files of a package: fetched or read with progress, checked by their digests.

// Node reads as many bytes at once.
const PART = 2 ** 20;

/** A file of the package is missing, or isn't the one that was compiled. */
export class LoadError extends Error {
  name = "LoadError";
}

/** Reads paths below a base; *digests* are `{bytes, sha256}` by path. */
export class Files {
  #base;
  #digests;
  #options;
  #done = 0;
  #total = 0;

  constructor(digests, base, options) {
    this.#digests = digests;
    this.#base = folder(options.base ?? base);
    this.#options = options;
  }

  has(path) {
    return Object.hasOwn(this.#digests, path);
  }

  /** Return the bytes of *path*, fetched with *priority*; throw LoadError. */
  async read(path, { priority } = {}) {
    const { bytes } = this.#digests[path];
    this.#total += bytes;
    const url = new URL(path, this.#base);
    if (url.protocol === "file:" && globalThis.process?.versions?.node) {
      return this.#checked(path, await this.#gathered(path, url, partsOfFile(url)));
    }
    const { cache: name } = this.#options;
    const cache = name === undefined ? undefined : await globalThis.caches?.open(name);
    return (
      (await this.#cached(cache, path, url)) ??
      this.#fetched(cache, path, url, priority)
    );
  }

  async text(path) {
    return new TextDecoder().decode(await this.read(path));
  }

  async #cached(cache, path, url) {
    const response = await cache?.match(url);
    if (!response) {
      return undefined;
    }
    const data = new Uint8Array(await response.arrayBuffer());
    if (!(await this.#matches(path, data))) {
      return undefined; // of an older compilation
    }
    this.#advance(data.length);
    return data;
  }

  async #fetched(cache, path, url, priority) {
    const response = await this.#response(url, priority);
    const parts = partsOfBody(response.body);
    const data = this.#checked(path, await this.#gathered(path, url, parts));
    await cache?.put(url, new Response(await data));
    return data;
  }

  async #response(url, priority) {
    const { fetch = globalThis.fetch, headers, signal } = this.#options;
    let response;
    try {
      response = await fetch(url, { headers, signal, priority });
    } catch (error) {
      throw this.#missing(url, error);
    }
    if (!response.ok) {
      throw new LoadError(`${url} can't be fetched: status ${response.status}`);
    }
    return response;
  }

  /** Return why the bytes of *url* didn't come; throw if the caller aborted. */
  #missing(url, error) {
    this.#options.signal?.throwIfAborted();
    const done = url.protocol === "file:" ? "read" : "fetched";
    return new LoadError(`${url} can't be ${done}: ${error.message}`);
  }

  /** Return the bytes of *parts*, telling of their arrival. */
  async #gathered(path, url, parts) {
    const { signal } = this.#options;
    const data = new Uint8Array(this.#digests[path].bytes);
    let length = 0;
    for (;;) {
      const { done, value } = await parts.next().catch((error) => {
        throw this.#missing(url, error);
      });
      if (done) {
        return data.subarray(0, length);
      }
      if (signal?.aborted || length + value.length > data.length) {
        await parts.return();
        signal?.throwIfAborted();
        throw foreign(path);
      }
      data.set(value, length);
      length += value.length;
      this.#advance(value.length);
    }
  }

  #advance(bytes) {
    this.#done += bytes;
    const progress = { done: this.#done, total: this.#total };
    this.#options.onProgress?.({ phase: "download", ...progress });
  }

  async #checked(path, data) {
    if (!(await this.#matches(path, data))) {
      throw foreign(path);
    }
    return data;
  }

  async #matches(path, data) {
    const { bytes, sha256 } = this.#digests[path];
    const found = data.length === bytes ? await digest(data) : "";
    return found === undefined || found === sha256;
  }
}

function folder(base) {
  const page = globalThis.document?.baseURI ?? globalThis.location?.href;
  const text = String(base);
  return new URL(text.endsWith("/") ? text : `${text}/`, page);
}

/** Yield what arrives of a response. */
async function* partsOfBody(body) {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      yield value;
    }
  } finally {
    await reader.cancel();
  }
}

/** Yield a file of this machine, in Node; each part is overwritten by the next. */
async function* partsOfFile(url) {
  const { open } = process.getBuiltinModule("node:fs/promises");
  const file = await open(url);
  try {
    const part = new Uint8Array(PART);
    for (;;) {
      const { bytesRead } = await file.read(part);
      if (bytesRead === 0) {
        return;
      }
      yield part.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

function foreign(path) {
  return new LoadError(`${path} isn't the file that belongs to this package`);
}

/** Return the SHA-256 in hex; undefined where the browser keeps it for https. */
async function digest(data) {
  if (globalThis.crypto?.subtle === undefined) {
    return undefined;
  }
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
