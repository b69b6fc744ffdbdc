import { printable } from '../base/printable.ts';

/** Keeps the beginning and the end of an output of any length. */
export class BoundedText {
  readonly #half: number;
  #head: Buffer[] = [];
  #headBytes = 0;
  #tail: Buffer[] = [];
  #tailBytes = 0;
  #dropped = 0;

  constructor(limit: number) {
    this.#half = Math.floor(limit / 2);
  }

  push(chunk: Buffer): void {
    let rest = chunk;
    if (this.#headBytes < this.#half) {
      const part = rest.subarray(0, this.#half - this.#headBytes);
      this.#head.push(part);
      this.#headBytes += part.length;
      rest = rest.subarray(part.length);
    }
    if (rest.length === 0) return;
    this.#tail.push(rest);
    this.#tailBytes += rest.length;
    while (this.#tailBytes - (this.#tail[0]?.length ?? 0) >= this.#half) {
      const gone = this.#tail.shift() as Buffer;
      this.#tailBytes -= gone.length;
      this.#dropped += gone.length;
    }
  }

  get text(): string {
    const gap = this.#dropped === 0 ? '' : `\n… ${this.#dropped} bytes left out …\n`;
    return Buffer.concat(this.#head).toString('utf8') + gap + Buffer.concat(this.#tail).toString('utf8');
  }
}

/** The newest lines of an endless stream, each cut at a length. */
export class LineTail {
  readonly lines: string[] = [];
  readonly #maxLines: number;
  readonly #maxLength: number;
  #partial = '';
  #cut = false;

  constructor(maxLines = 400, maxLength = 4096) {
    this.#maxLines = maxLines;
    this.#maxLength = maxLength;
  }

  /** @returns the lines that the chunk completed */
  push(chunk: string): string[] {
    const parts = chunk.split('\n');
    const done: string[] = [];
    parts.forEach((part, index) => {
      this.#extend(part);
      if (index < parts.length - 1) done.push(this.#finish());
    });
    return done;
  }

  #extend(part: string): void {
    const room = this.#maxLength - this.#partial.length;
    if (part.length > room) this.#cut = true;
    this.#partial += part.slice(0, Math.max(0, room));
  }

  #finish(): string {
    const said = printable(this.#partial);
    const line = this.#cut ? `${said}…` : said;
    this.#partial = '';
    this.#cut = false;
    this.lines.push(line);
    if (this.lines.length > this.#maxLines) this.lines.shift();
    return line;
  }
}
