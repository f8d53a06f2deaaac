import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileRoutes } from '../../src/control/api/files.js';
import type { ControlContext } from '../../src/control/context.js';
import type { Call } from '../../src/control/route.js';
import { tempDir } from '../support/tmp.js';

const UUID = '1e0bbd67-1c4e-4d5a-9a5e-0d8f6a3b7c21';

/** The directories were those of the sinks that the gateway began with, whatever a reload said. */
test('files of a sink that came by a reload are listed, of one that left are not', async () => {
  const root = tempDir();
  const put = (dir: string) => {
    const own = join(root, dir, UUID.replaceAll('-', ''), '3/2026/11/26');
    mkdirSync(own, { recursive: true });
    writeFileSync(join(own, `${UUID}-2026-11-26-120000.syslog.txt`), dir);
    return { kind: 'files', dir: join(root, dir) };
  };
  const gateway = { config: { sinks: { before: put('before') } as Record<string, unknown> } };
  const routes = fileRoutes({ gateway } as unknown as ControlContext);
  const list = async () => {
    const route = routes.find(({ id }) => id === 'listFiles')!;
    const call = { params: { uuid: UUID }, query: { offset: 0, limit: 10 } };
    const { body } = await route.handle(call as unknown as Call<unknown, unknown, unknown>);
    const { files } = JSON.parse(String(body)) as { files: { sink: string }[] };
    return files.map(({ sink }) => sink);
  };
  assert.deepEqual(await list(), ['before']);
  gateway.config = { sinks: { after: put('after') } };
  assert.deepEqual(await list(), ['after']);
});
