import { decode, encode } from './compress.js';
import { type PartFile, type Tally, writeAll } from './part-file.js';

/** The end of a file, behind its last whole record. */
export interface FileEnd {
  readonly tail: Uint8Array;
  /**
   * Cuts it off; can be repeated after an error.
   * @param tally what is delivered so far, the end included: it is held elsewhere now
   */
  cut(tally: Readonly<Tally>): Promise<void>;
}

/**
 * Reads the end of a file that is still open.
 * @param at where it begins in the file's uncompressed content
 * @returns undefined where there is none
 */
export async function endOf(file: PartFile, at: number): Promise<FileEnd | undefined> {
  if (file.record === undefined || file.plainBytes <= at) return undefined;
  const { compress } = file;
  const mark = file.mark.plain <= at ? file.mark : { plain: 0, disk: 0 };
  const start = compress === 'none' ? { plain: at, disk: at } : mark;
  const parts: Uint8Array[] = [];
  let plain = start.plain;
  /** How the file is to end. */
  let end = { disk: start.disk, bytes: new Uint8Array(0) as Uint8Array };
  await file.use(async (handle) => {
    for await (const piece of decode(handle, compress, start.disk)) {
      const cut = at - plain;
      if (cut >= 0 && cut < piece.plain.length) {
        const head = piece.plain.subarray(0, cut);
        const isSplit = compress !== 'none' && cut > 0;
        const bytes = isSplit ? await encode(head, compress) : new Uint8Array(0);
        end = { disk: piece.from, bytes };
      }
      parts.push(Uint8Array.prototype.slice.call(piece.plain, Math.max(0, cut)));
      plain += piece.plain.length;
    }
  });
  return {
    tail: Buffer.concat(parts),
    async cut(tally) {
      const { disk, bytes } = end;
      file.record?.intent(disk + bytes.length, tally.frames, tally.bytes);
      await file.use(async (handle) => {
        await writeAll(handle, bytes, { written: 0 }, disk);
        await handle.truncate(disk + bytes.length);
      });
      file.diskBytes = disk + bytes.length;
      file.plainBytes = at;
    },
  };
}
