import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { Gateway } from '../../integration/gateway.js';
import { Sensor, until, uuidOf } from '../../integration/peers.js';
import { freePort } from '../../support/ports.js';
import { TcpProxy } from '../../support/proxy.js';
import { tempDir } from '../../support/tmp.js';
import { Controlled } from '../api.js';
import { Person, shared, skipWithoutBrowser } from './browser.js';
import { stream } from './scene.js';

const KEY = 'a key of the live page';

const dir = tempDir('live');
const port = await freePort();
const start = () => Controlled.start({ dir, config: { control: { port } } });
let control = await shared(start);
const proxy = await shared(() => TcpProxy.start(() => port));
const person = await shared(() => Person.start(`http://127.0.0.1:${proxy.port}`));

describe('a page that stays open', { skip: skipWithoutBrowser() }, () => {
  test('shows what comes as it comes, once a second at most', async () => {
    const { page } = person;
    await person.login(control.admin);
    const messages: string[] = [];
    page.on('websocket', (socket) => {
      socket.on('framereceived', ({ payload }) => messages.push(payload.toString()));
    });
    await page.reload();
    await person.sees('Nothing was received since the gateway began.');
    const sensor = new Sensor(uuidOf(1), 8, KEY);
    await control.ok('POST', '/api/v1/sensors', { uuid: sensor.uuid, key: KEY });
    await stream(control, sensor, { type: 8, kind: 'lines', groups: [], bytes: 2_000 });
    await person.sees('8 passivedns');
    await page
      .getByText(/^[\d.]+ kbps$/)
      .first()
      .waitFor();
    await until(() => messages.length >= 6, 'more has come');
    // By the gateway's clock, for ours may have been held up.
    const times = messages.map((text) => {
      const { overview, changed } = JSON.parse(text);
      return Date.parse((overview ?? changed).at);
    });
    for (const [index, at] of times.entries()) {
      const since = index === 0 ? Number.POSITIVE_INFINITY : at - times[index - 1]!;
      // The first delta comes in the rhythm of all, however soon after the whole.
      assert.ok(index === 1 ? since >= 0 : since >= 900, `${since} ms after the one before`);
    }
  });

  test('a network that breaks is told, and the page comes back by itself', async () => {
    await proxy.refuse();
    proxy.cut();
    await person.sees(/The gateway has not answered for \d+ s: what you see is old/);
    await person.sees('no connection');
    await person.checkAccess('without a connection');
    await proxy.listen();
    await person.page.locator('[data-link="live"]').waitFor({ timeout: 20_000 });
    assert.equal(await person.page.getByText('has not answered').count(), 0);
  });

  test('a token that is revoked ends it at once', async () => {
    const made = await control.ok('POST', '/api/v1/tokens', { name: 'guest', role: 'reader' });
    const guest = await Person.start(control.url);
    await guest.login(made.token);
    await guest.page.locator('[data-link="live"]').waitFor();
    await control.ok('DELETE', `/api/v1/tokens/${made.id}`);
    await guest.page.getByLabel('Access token').waitFor();
    assert.deepEqual(guest.complaints, []);
  });

  test('after a restart of the gateway it says so, and goes on where it was after a login', async () => {
    const { page } = person;
    await person.show('/relays', 'Relays and spools');
    assert.equal(await control.gateway.stop(), 0);
    await person.sees('no connection');
    control = await start();
    await page.getByLabel('Access token').waitFor({ timeout: 40_000 });
    await person.sees('Your session is over: it expired, or the gateway restarted.');
    await page.getByLabel('Access token').fill(control.admin);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('heading', { level: 1, name: 'Relays and spools' }).waitFor();
    await page.locator('[data-link="live"]').waitFor();
    await person.sees('takes');
    assert.deepEqual(person.complaints, []);
    assert.equal(await control.gateway.stop(), 0);
  });

  test('over TLS its cookie is for this host and for TLS alone, and it is live all the same', async () => {
    const gateway = await Gateway.start({ config: { control: { port: 0, tls: {} } } });
    const { url } = gateway.logged('the control plane listens')[0]!;
    const file = join(gateway.dir, 'data', 'control', 'admin-token');
    const visitor = await Person.start(url as string);
    await visitor.login(readFileSync(file, 'utf8').trim());
    await visitor.page.locator('[data-link="live"]').waitFor();
    const [cookie] = await visitor.context.cookies();
    assert.deepEqual([cookie!.name, cookie!.secure, cookie!.httpOnly], ['__Host-d4gw', true, true]);
    assert.deepEqual(visitor.complaints, []);
    assert.equal(await gateway.stop(), 0);
  });
});
