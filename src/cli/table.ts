/** Aligned columns, two blanks apart. */
export function table(head: string[] | undefined, rows: readonly string[][]): string[] {
  const all = (head ? [head, ...rows] : rows).map((row) => row.map(printable));
  const widths = (all[0] ?? []).map((_, column) =>
    Math.max(...all.map((row) => [...(row[column] ?? '')].length)),
  );
  return all.map((row) =>
    row
      .map((cell, column) => cell + ' '.repeat(widths[column]! - [...cell].length))
      .join('  ')
      .trimEnd(),
  );
}

/** Texts that came from outside must not drive the terminal. */
export function printable(text: string): string {
  return text.replace(
    /[\p{C}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}
