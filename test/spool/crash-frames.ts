/** What the frame `index` of a session holds; its length differs from frame to frame. */
export function framePayload(id: string, index: number): Buffer {
  const text = `${id}:${index};`;
  const filler = (index * 131) % 1_900;
  return Buffer.concat([Buffer.from(text), Buffer.alloc(filler, index & 0xff)]);
}

export function parsePayload(payload: Buffer): { id: string; index: number } {
  const text = payload.subarray(0, payload.indexOf(';')).toString();
  const colon = text.lastIndexOf(':');
  return { id: text.slice(0, colon), index: Number(text.slice(colon + 1)) };
}
