import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { tarOf } from '../../../../src/control/ui/lib/tar.js';
import { tempDir } from '../../../support/tmp.js';
import { requireTool } from '../../../support/tools.js';

test('tar unpacks it as it was, for its owner alone', { skip: requireTool('tar') }, () => {
  const dir = tempDir('tar');
  const files = { key: 'secret\n', empty: '', block: 'x'.repeat(512), more: 'é\xff\n'.repeat(300) };
  const at = Date.UTC(2026, 0, 31, 12) / 1000;
  writeFileSync(join(dir, 'a.tar'), tarOf('my-sensor', files, at));
  const { status, stderr } = spawnSync('tar', ['xf', 'a.tar'], { cwd: dir, encoding: 'utf8' });
  assert.deepEqual([status, stderr], [0, '']);
  const own = join(dir, 'my-sensor');
  assert.deepEqual(readdirSync(own).sort(), Object.keys(files).sort());
  for (const [name, text] of Object.entries(files)) {
    const path = join(own, name);
    assert.ok(readFileSync(path).equals(Buffer.from(text, 'latin1')), name);
    const { mode, mtimeMs } = statSync(path);
    assert.deepEqual([mode & 0o777, mtimeMs / 1000], [0o600, at], name);
  }
  assert.equal(statSync(own).mode & 0o777, 0o700);
});
