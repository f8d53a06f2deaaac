import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { readClientDirectory } from '../../../src/client/directory.js';
import { Sensor, until, uuidOf } from '../../integration/peers.js';
import { startD4gw } from '../../support/program.js';
import { tempDir } from '../../support/tmp.js';
import { Controlled, type Json } from '../api.js';
import { DESKTOP, Person, PHONE, shared, skipWithoutBrowser } from './browser.js';
import { say, stream } from './scene.js';

const KEY = 'a key of the actions';

const control = await shared(() => Controlled.start());
const person = await shared(() => Person.start(control.url));

describe('what one does on the page', { skip: skipWithoutBrowser() }, () => {
  const sensorOf = (uuid: string): Promise<Json> => control.ok('GET', `/api/v1/sensors/${uuid}`);
  const click = (name: string | RegExp) => person.page.getByRole('button', { name }).click();
  /** In the dialog that asks. */
  const confirm = (name: string) =>
    person.page.getByRole('dialog').getByRole('button', { name, exact: true }).click();
  const addPending = async (number: number) => {
    const uuid = uuidOf(number);
    await control.ok('POST', '/api/v1/sensors', { uuid, key: KEY, state: 'pending' });
    return uuid;
  };

  test('a wrong token is told so; a right one logs in, and one logs out again', async () => {
    const { page } = person;
    await page.goto(`${control.url}/alerts`);
    await page.getByLabel('Access token').fill('nonsense');
    await page.getByRole('button', { name: 'Log in' }).click();
    await person.sees('Authentication failed');
    await page.getByLabel('Access token').fill(control.admin);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('heading', { level: 1, name: 'Alerts' }).waitFor();
    const [cookie] = await person.context.cookies();
    assert.deepEqual([cookie!.httpOnly, cookie!.sameSite], [true, 'Strict']);
    await click('Log out');
    await person.sees('You are logged out');
    await page.reload();
    await page.getByLabel('Access token').waitFor();
    await person.login(control.admin);
  });

  test('adds a sensor, whose directory and command line bring its stream', async () => {
    const { page } = person;
    await person.show('/', 'Overview');
    await page.getByRole('link', { name: 'Add the first sensor' }).click();
    await page.getByLabel('Name').fill('Fresh one');
    await page.getByLabel('What it sends').selectOption('3');
    await page.getByLabel('Groups').fill('Not allowed!');
    await click('Add the sensor');
    await person.sees(/groups\.\d: expected a letter or digit/);
    await page.getByLabel('Groups').fill('lab, lux');
    await click('Add the sensor');
    await page.getByRole('heading', { level: 1, name: 'Fresh one is added' }).waitFor();
    await person.look('added', [DESKTOP, PHONE]);
    const loading = page.waitForEvent('download');
    await page.getByRole('link', { name: 'Download fresh-one.tar' }).click();
    const dir = tempDir('download');
    await (await loading).saveAs(join(dir, 'fresh-one.tar'));
    assert.equal(spawnSync('tar', ['xf', 'fresh-one.tar'], { cwd: dir }).status, 0);
    const own = join(dir, 'fresh-one');
    assert.equal(statSync(join(own, 'key')).mode & 0o777, 0o600);
    const { uuid, type } = readClientDirectory(own);
    assert.equal(type, 3);
    const pem = readFileSync(control.gateway.certFile, 'utf8');
    assert.equal(readFileSync(join(own, 'rootCA.crt'), 'utf8'), pem);
    const commands = await page.locator('pre').allInnerTexts();
    assert.ok(commands.some((text) => text.includes('socat - OPENSSL-CONNECT:')));
    assert.ok(commands.some((text) => text.includes('./d4-goclient -c fresh-one')));
    const line = commands.find((text) => text.includes('d4gw client'))!.split('d4gw client ')[1]!;
    const client = startD4gw(['client', ...line.split(' ')], { cwd: dir, input: 'a line\n' });
    assert.equal((await client.exit(20_000)).code, 0, client.output());
    await page.getByRole('link', { name: 'Its page' }).click();
    await page.getByRole('heading', { level: 1, name: 'Fresh one' }).waitFor();
    await until(async () => (await sensorOf(uuid)).lastSeen !== null, 'its stream has come');
    await person.sees(/from 127\.0\.0\.1/);
    await person.sees('syslog.txt');
    assert.deepEqual((await sensorOf(uuid)).groups, ['lab', 'lux']);
  });

  test('approves and rejects, one and many', async () => {
    const [one, two, three, four] = [
      await addPending(1),
      await addPending(2),
      await addPending(3),
      await addPending(4),
    ];
    await person.show('/pending', 'Pending');
    await click(`Approve ${one}`);
    await person.sees(`${one} is approved.`);
    await click(`Reject ${two}`);
    await confirm('Reject');
    await person.sees(`${two} rejected.`);
    await person.page.getByLabel('All').check();
    await click('Approve 2');
    await person.sees('2 sensors are approved.');
    await person.sees('Nobody waits.');
    for (const uuid of [one, three, four]) assert.equal((await sensorOf(uuid)).state, 'approved');
    assert.equal((await control.get(`/api/v1/sensors/${two}`)).status, 404);
  });

  test('edits, blocks, unblocks and removes a sensor, and gives it a new key', async () => {
    const { page } = person;
    const uuid = uuidOf(1);
    await person.show(`/sensors/${uuid}`, uuid);
    await click('Edit');
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Name').fill('renamed');
    await dialog.getByLabel('Groups').fill('a b');
    await person.checkAccess('a dialog');
    await confirm('Save');
    await page.getByRole('heading', { level: 1, name: 'renamed' }).waitFor();
    assert.deepEqual((await sensorOf(uuid)).groups, ['a', 'b']);
    await click('Block');
    await dialog.waitFor();
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    assert.equal((await sensorOf(uuid)).state, 'approved', 'one may think better of it');
    await click('Block');
    await confirm('Block');
    await person.sees('renamed is blocked.');
    await click('Unblock');
    await person.sees('renamed is no longer blocked.');
    assert.equal((await sensorOf(uuid)).state, 'approved');
    await click('Rotate key');
    await confirm('Rotate key');
    await page.getByRole('link', { name: 'Download renamed.tar' }).waitFor();
    assert.notEqual((await sensorOf(uuid)).previousKeyValidUntil, null);
    await confirm('Done');
    await click('Remove');
    await confirm('Remove');
    await page.getByRole('heading', { level: 1, name: 'Sensors' }).waitFor();
    assert.equal((await control.get(`/api/v1/sensors/${uuid}`)).status, 404);
  });

  test('kicks a session, and sees why its client is refused', async () => {
    const sensor = new Sensor(uuidOf(3), 3, KEY);
    const cast = { type: 3, kind: 'lines', groups: [], bytes: 500 } as const;
    const socket = await stream(control, sensor, { ...cast, groups: [] });
    await person.show(`/sensors/${sensor.uuid}`, sensor.uuid);
    await click('Kick');
    await person.page.getByLabel('Refuse it for').selectOption('300');
    await confirm('Kick');
    await until(() => socket.destroyed, 'its connection ends');
    await person.sees('No session is open.');
    await say(control.gateway.tcpPort, sensor.frame('again\n'));
    await person.sees('It is rejected: sensor-kicked');
    await person.sees('Wait for the end of the ban.');
    await person.show('/blocks', 'Blocks');
    await person.sees('3 log');
  });

  test('blocks and unblocks addresses', async () => {
    const { page } = person;
    await person.show('/blocks', 'Blocks');
    const field = page.getByLabel('Address or range');
    await field.fill('192.0.2.999');
    await click('Block');
    await person.sees('An IPv4 or IPv6 address, or a range');
    await field.fill('192.0.2.0/24');
    await click('Block');
    await person.sees('192.0.2.0/24 is blocked.');
    await click('Unblock 192.0.2.0/24');
    await person.sees('192.0.2.0/24 is no longer blocked.');
    await person.sees('No address is blocked.');
    await person.show('/rejects?reason=sensor-kicked', 'Rejects');
    await click('Block 127.0.0.1');
    await confirm('Block');
    await person.sees('127.0.0.1 is blocked.');
    const [blocked] = await control.ok('GET', '/api/v1/addresses');
    assert.equal(blocked.address, '127.0.0.1');
    await control.ok('POST', '/api/v1/addresses/unblock', { address: '127.0.0.1' });
  });

  test('pauses and resumes a sink, which needs a person meanwhile', async () => {
    await person.show('/relays', 'Relays and spools');
    await click('Pause');
    await confirm('Pause');
    await person.sees('paused');
    await person.page.getByRole('link', { name: 'Overview' }).click();
    await person.sees('Sink disk is held');
    await person.page.getByRole('link', { name: 'Relays and spools' }).first().click();
    await click('Resume');
    await person.sees('disk goes on.');
    await person.sees('takes');
    await person.show('/alerts', 'Alerts');
    await person.sees(/sink disk is held/);
  });

  test('downloads a file, and finds it all on the audit trail', async () => {
    const { page } = person;
    const [{ uuid }] = (await control.ok('GET', '/api/v1/sensors?q=fresh')).sensors;
    await person.show(`/sensors/${uuid}`, 'Fresh one');
    const loading = page.waitForEvent('download');
    await page.getByRole('link', { name: /^Download 3\// }).click();
    const path = await (await loading).path();
    assert.equal(readFileSync(path, 'utf8'), 'a line\n');
    await person.show('/audit', 'Audit');
    for (const act of ['file.download', 'sink.pause', 'session.kick', 'address.block']) {
      await person.sees(act);
    }
    await page.getByLabel('Act', { exact: true }).selectOption('sink');
    await person.page.getByText('session.kick').waitFor({ state: 'detached' });
    await person.sees('sink.resume');
  });

  test('reloads the configuration, and says what is wrong with it', async () => {
    await person.show('/settings', 'Settings');
    await click('Reload');
    await confirm('Reload');
    await person.sees('Nothing had changed.');
    await person.page.getByLabel('Find a key or a value').fill('rotateSeconds');
    await person.sees('disk.rotateSeconds');
    assert.equal(await person.page.getByText('maxPayloadBytes').count(), 0);
  });

  test('the theme is chosen, and remembered', async () => {
    const { page } = person;
    const background = () => page.evaluate('getComputedStyle(document.body).backgroundColor');
    const light = await background();
    await click('Dark theme');
    const dark = await background();
    assert.notEqual(dark, light);
    await page.reload();
    await page.getByRole('button', { name: 'Light theme' }).waitFor();
    assert.equal(await background(), dark);
    await click('Light theme');
  });

  test('a reader sees no action, and may do none', async () => {
    const reader = await Person.start(control.url);
    await reader.login(await control.token('reader'));
    const sender = new Sensor(uuidOf(4), 3, KEY);
    await stream(control, sender, { type: 3, kind: 'lines', groups: [], bytes: 500 });
    const { uuid } = sender;
    const pending = await addPending(5);
    const { page } = reader;
    const views: [path: string, heading: string, text: string | RegExp][] = [
      ['/', 'Overview', 'Workers'],
      ['/sensors', 'Sensors', 'Fresh one'],
      [`/sensors/${uuid}`, uuid, 'session open since'],
      ['/pending', 'Pending', pending.slice(0, 8)],
      ['/relays', 'Relays and spools', 'Open files'],
      ['/blocks', 'Blocks', 'No address is blocked.'],
      ['/rejects', 'Rejects', 'sensor-kicked'],
      ['/settings', 'Settings', 'maxPayloadBytes'],
    ];
    const actions = /approve|reject|block|kick|edit|rotate|remove|pause|resume|reload|download/i;
    for (const [path, heading, text] of views) {
      await reader.show(path, heading);
      await reader.sees(text);
      const buttons = page.getByRole('button', { name: actions });
      assert.deepEqual(await buttons.allTextContents(), [], `no action on ${path}`);
      assert.equal(await page.getByRole('textbox').count(), 0, path);
    }
    await reader.show(`/sensors/${pending}`, pending);
    assert.equal(await page.getByRole('button', { name: actions }).count(), 0);
    const nav = page.getByRole('navigation', { name: 'Views' });
    assert.deepEqual(await nav.getByText(/Audit|Add a sensor/).count(), 0);
    for (const [path, name] of [
      ['/audit', 'Audit'],
      ['/add', 'Add a sensor'],
    ] as const) {
      await reader.show(path, name);
      await reader.sees('it takes operator');
    }
    const refused = await page.evaluate(
      `fetch('/api/v1/sensors/${pending}/approve', {
      method: 'POST',
      headers: {
        'x-csrf-token': await (await fetch('/api/v1/session')).json().then((own) => own.csrfToken),
      },
    }).then(({ status }) => status)`
        .replace(/^/, '(async () => ')
        .concat(')()'),
    );
    assert.equal(refused, 403);
    assert.equal((await sensorOf(pending)).state, 'pending');
    assert.deepEqual(reader.complaints, []);
  });

  test('an operator decides on sensors, and holds no sink', async () => {
    const operator = await Person.start(control.url);
    await operator.login(await control.token('operator'));
    await operator.show('/relays', 'Relays and spools');
    await operator.sees('Open files');
    assert.equal(await operator.page.getByRole('button', { name: /Pause/ }).count(), 0);
    await operator.show('/pending', 'Pending');
    await operator.page.getByRole('button', { name: `Approve ${uuidOf(5)}` }).click();
    await operator.sees(`${uuidOf(5)} is approved.`);
    assert.deepEqual(operator.complaints, []);
  });

  test('nothing broke the policy, and no script failed', async () => {
    assert.deepEqual(person.complaints, []);
    assert.equal(await control.gateway.stop(), 0);
  });
});
