import { type Decoded, decode, encode } from './compress.js';
import { type Chunk, type PartFile, type Tally, writeAll } from './part-file.js';

const COPY_BYTES = 256 * 1024;

interface End {
  /** Where the file is cut, and what is put there. */
  disk: number;
  bytes: Uint8Array;
  chunk: Chunk;
}

/**
 * Moves the end of a file, a damaged record that was written before it was seen to be damaged, to
 * the start of another:
 *
 *   from  ├─ record ─┼─ record ─┼─ damaged …        from  ├─ record ─┼─ record ─┤
 *                               at              →   into  ├─ damaged …
 *
 * `run` can be repeated after an error. The end is copied before it is cut off, so at no moment
 * is it in neither file.
 */
export class Split {
  readonly #from: PartFile;
  readonly #into: PartFile;
  readonly #at: number;
  /** How the first file is to end. */
  #end: End | undefined;

  /** @param at position in the file's uncompressed content */
  constructor(from: PartFile, into: PartFile, at: number) {
    this.#from = from;
    this.#into = into;
    this.#at = at;
  }

  /** @param tally what is delivered so far; a frame that lies in the damaged end stays delivered */
  async run(tally: Tally): Promise<void> {
    const from = this.#from;
    if (from.vanished || from.plainBytes <= this.#at) return;
    const bytesBefore = tally.bytes - (from.plainBytes - this.#at);
    await this.#into.create({ frames: tally.frames, bytes: bytesBefore });
    this.#end ??= await this.#copy({ frames: tally.frames, bytes: bytesBefore });
    if (this.#end === undefined) return; // it can't be read back, so it stays where it is
    const { disk, bytes, chunk } = this.#end;
    from.record?.intent(disk + bytes.length, tally.frames, bytesBefore);
    await from.use(async (handle) => {
      await writeAll(handle, bytes, chunk, disk);
      await handle.truncate(disk + bytes.length);
    });
    from.diskBytes = disk + bytes.length;
    from.plainBytes = this.#at;
  }

  /** Copies the end of the one file to the other, and says how the first is to end. */
  async #copy(before: Tally): Promise<End | undefined> {
    const { compress } = this.#from;
    const start = compress === 'none' ? { plain: this.#at, disk: this.#at } : this.#from.mark;
    return await this.#from.use(async (handle) => {
      let plain = start.plain;
      let end: End | undefined;
      for await (const piece of decode(handle, compress, start.disk)) {
        const cut = this.#at - plain;
        if (cut >= 0 && cut < piece.plain.length) end = await this.#endWithin(piece, cut);
        // After an error the copy goes on where it was.
        const copied = Math.max(0, this.#at + this.#into.plainBytes - plain);
        for (let at = copied; at < piece.plain.length; at += COPY_BYTES) {
          await this.#append(piece.plain.subarray(at, at + COPY_BYTES), before);
        }
        plain += piece.plain.length;
      }
      return end;
    });
  }

  /** The file is to end `cut` bytes into the content of one frame. */
  async #endWithin(piece: Decoded, cut: number): Promise<End> {
    const { compress } = this.#from;
    const chunk = { written: 0 };
    // Uncompressed, the reading began at the cut.
    if (compress === 'none' || cut === 0)
      return { disk: piece.from, bytes: new Uint8Array(0), chunk };
    const bytes = await encode(piece.plain.subarray(0, cut), compress);
    return { disk: piece.from, bytes, chunk };
  }

  async #append(plain: Uint8Array, before: Tally): Promise<void> {
    const into = this.#into;
    const { compress } = into;
    const data = compress === 'none' ? plain : await encode(plain, compress);
    const bytes = before.bytes + into.plainBytes + plain.length;
    into.record?.intent(into.diskBytes + data.length, before.frames, bytes);
    await into.append(data, { written: 0 });
    into.plainBytes += plain.length;
    into.mark = { plain: into.plainBytes, disk: into.diskBytes };
  }
}
