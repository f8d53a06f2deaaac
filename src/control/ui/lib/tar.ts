/** A tar archive (ustar, POSIX.1-1988) of small text files, so that one download is a directory. */

const BLOCK_BYTES = 512;
const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;

/**
 * @param dir name of the directory that all is in
 * @param files content by name; each character is one byte
 * @param at seconds since the epoch
 */
export function tarOf(
  dir: string,
  files: Readonly<Record<string, string>>,
  at: number,
): Uint8Array<ArrayBuffer> {
  const parts = [header(`${dir}/`, 0, DIRECTORY_MODE, '5', at)];
  for (const [name, text] of Object.entries(files)) {
    const content = Uint8Array.from(text, (char) => char.charCodeAt(0));
    const padded = new Uint8Array(Math.ceil(content.length / BLOCK_BYTES) * BLOCK_BYTES);
    padded.set(content);
    parts.push(header(`${dir}/${name}`, content.length, FILE_MODE, '0', at), padded);
  }
  parts.push(new Uint8Array(2 * BLOCK_BYTES));
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

/**
 *      0 name 100 · 100 mode 8 · 108 uid 8 · 116 gid 8 · 124 size 12 · 136 mtime 12 · 148 checksum 8
 *    156 kind 1 · 257 "ustar\0" · 263 "00"
 */
function header(name: string, size: number, mode: number, kind: string, at: number): Uint8Array {
  const block = new Uint8Array(BLOCK_BYTES);
  const write = (offset: number, text: string) => {
    for (let index = 0; index < text.length; index += 1) {
      block[offset + index] = text.charCodeAt(index);
    }
  };
  const octal = (value: number, digits: number) => value.toString(8).padStart(digits, '0');
  write(0, name);
  write(100, `${octal(mode, 7)}\0`);
  write(108, `${octal(0, 7)}\0`);
  write(116, `${octal(0, 7)}\0`);
  write(124, `${octal(size, 11)}\0`);
  write(136, `${octal(at, 11)}\0`);
  write(148, ' '.repeat(8));
  write(156, kind);
  write(257, 'ustar\0');
  write(263, '00');
  const sum = block.reduce((total, byte) => total + byte, 0);
  write(148, `${octal(sum, 6)}\0 `);
  return block;
}
