import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { configJsonSchema } from '../../src/config/schema.js';
import { Reject, rejectName } from '../../src/wire/reject.js';
import { repository } from '../support/shared.js';

const readme = readFileSync(join(repository, 'README.md'), 'utf8');

/** The first cells of the table under a heading, with every name in them. */
function namesUnder(heading: string): string[] {
  const section = readme.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  const rows = section.split('\n').filter((line) => line.startsWith('| `'));
  return rows.flatMap((row) =>
    [...row.split('|')[1]!.matchAll(/`([^`]+)`/g)].map((match) => match[1]!),
  );
}

test('the table of rejects names each reason once, and no other', () => {
  const reasons = Object.values(Reject).map((code) => rejectName(code));
  assert.deepEqual(namesUnder('Rejects').sort(), reasons.sort());
});

test('the table of errors names each code once, and no other', () => {
  const source = readFileSync(join(repository, 'src', 'errors.ts'), 'utf8');
  const codes = [...source.matchAll(/^ {2}\| '(D4GW_E_[A-Z_]+)'/gm)].map((match) => match[1]!);
  assert.ok(codes.length > 5);
  assert.deepEqual(namesUnder('Errors').sort(), codes.sort());
});

test('the table of the configuration names each key of its schema', () => {
  const { properties } = configJsonSchema() as { properties: Record<string, Schema> };
  for (const section of ['limits', 'admission', 'log']) {
    for (const key of Object.keys(properties[section]!.properties!)) {
      assert.ok(readme.includes(`\`${section}.${key}\``), `${section}.${key}`);
    }
  }
  for (const key of Object.keys(properties)) assert.ok(readme.includes(`\`${key}`), key);
});

interface Schema {
  properties?: Record<string, Schema>;
}
