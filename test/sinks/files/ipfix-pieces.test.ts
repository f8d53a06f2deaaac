import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ipfixMessage, ipfixSet, template } from './cutters/build.js';
import { filesBelow, newSeed, Rig, random, tempDir } from './rig.js';

/**
 * Reads IPFIX as a collector does: templates by domain, withdrawals heeded. Returns each data
 * record's domain, set and bytes with the template that it was read by.
 */
function collect(bytes: Buffer): string[] {
  const templates = new Map<string, string>();
  const data: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    assert.equal(bytes.readUInt16BE(at), 10);
    const end = at + bytes.readUInt16BE(at + 2);
    const domain = bytes.readUInt32BE(at + 12);
    for (let set = at + 16; set < end; ) {
      const id = bytes.readUInt16BE(set);
      const stop = set + bytes.readUInt16BE(set + 2);
      if (id > 255) {
        const known = templates.get(`${domain}/${id}`);
        data.push(`${domain}/${id}: ${bytes.toString('hex', set + 4, stop)} by ${known}`);
      } else readTemplates(bytes, set + 4, stop, id, domain, templates);
      set = stop;
    }
    at = end;
  }
  return data;
}

function readTemplates(
  bytes: Buffer,
  from: number,
  to: number,
  set: number,
  domain: number,
  templates: Map<string, string>,
): void {
  for (let at = from; at + 4 <= to; ) {
    const start = at;
    const id = bytes.readUInt16BE(at);
    const fields = bytes.readUInt16BE(at + 2);
    at += 4;
    if (fields === 0) {
      if (id === 0) return; // padding
      for (const key of [...templates.keys()]) {
        const kind = templates.get(key)!.slice(0, 1);
        const all = id === set && key.startsWith(`${domain}/`) && kind === String(set);
        if (all || key === `${domain}/${id}`) templates.delete(key);
      }
      continue;
    }
    if (set === 3) at += 2;
    for (let field = 0; field < fields; field += 1) {
      at += (bytes.readUInt16BE(at) & 0x8000) === 0 ? 4 : 8;
    }
    templates.set(`${domain}/${id}`, `${set}:${bytes.toString('hex', start, at)}`);
  }
}

test('each IPFIX piece brings the templates that its data needs', async (context) => {
  const seed = newSeed();
  context.diagnostic(`D4GW_SEED=${seed}`);
  const next = random(seed);
  for (let round = 0; round < 25; round += 1) {
    const messages: Buffer[] = [];
    const known = new Map<string, true>();
    for (let sequence = 0; sequence < 60; sequence += 1) {
      const domain = next(3);
      const id = 256 + next(6);
      const key = `${domain}/${id}`;
      const sets: Buffer[] = [];
      const dice = next(12);
      if (dice === 0 && known.has(key)) {
        sets.push(ipfixSet(2, Buffer.from([id >> 8, id & 255, 0, 0])));
        known.delete(key);
      } else if (dice === 1) {
        const kind = 2 + next(2);
        sets.push(ipfixSet(kind, Buffer.from([0, kind, 0, 0]))); // all of that kind
        for (const each of [...known.keys()]) if (each.startsWith(`${domain}/`)) known.delete(each);
      } else if (dice < 5 || !known.has(key)) {
        const fields = Array.from({ length: 1 + next(5) }, () => 1 + next(9));
        const isOptions = next(3) === 0;
        const record = isOptions ? template(id, fields, 1) : template(id, fields);
        sets.push(ipfixSet(isOptions ? 3 : 2, Buffer.concat([record, Buffer.alloc(next(4))])));
        known.set(key, true);
      }
      if (known.has(key)) sets.push(ipfixSet(id, Buffer.alloc(4 + next(60), sequence)));
      messages.push(ipfixMessage(domain, sequence, sets));
    }
    const payload = Buffer.concat(messages);
    const dir = tempDir();
    const rig = new Rig(dir.path, { rotateBytes: 1 + next(600) });
    await rig.send(7, payload, () => 1 + next(90));
    const files = filesBelow(dir.path);
    assert.ok(files.length > 3 && files.every((path) => path.endsWith('.yaf')));
    const pieces = files.map((path) => readFileSync(path));
    assert.deepEqual(pieces.flatMap(collect), collect(payload));
    const kept = files.map((path, index) => pieces[index]!.subarray(rig.journal.preambleOf(path)));
    assert.ok(Buffer.concat(kept).equals(payload));
    await rig.sink.close();
    dir.remove();
  }
});
