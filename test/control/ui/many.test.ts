import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { openRegistry } from '../../../src/registry/lmdb.js';
import type { SensorRecord } from '../../../src/registry/store.js';
import { openEnvironment } from '../../../src/storage/environment.js';
import { uuidOf } from '../../integration/peers.js';
import { tempDir } from '../../support/tmp.js';
import { Controlled } from '../api.js';
import { Person, PHONE, shared, skipWithoutBrowser } from './browser.js';

const COUNT = 10_000;
/** Rows in the page at once, however many there are. */
const ROWS_MAX = 60;

/** Written at once: one by one, each would wait for the disk, and be on the audit trail. */
async function populate(dataDir: string): Promise<void> {
  const registry = openRegistry(dataDir);
  const first = await registry.add({ uuid: uuidOf(0), key: Buffer.from('the key') });
  await registry.close();
  const options = { readOnly: false, format: 1, mapBytes: 256 * 1024 * 1024 };
  const db = openEnvironment(join(dataDir, 'registry'), options);
  db.transactionSync(() => {
    for (let index = 0; index < COUNT; index += 1) {
      const record: SensorRecord = {
        ...first,
        uuid: uuidOf(index),
        name: `sensor-${`${index}`.padStart(5, '0')}`,
        state: index % 100 === 0 ? 'pending' : 'approved',
        groups: [index % 2 === 0 ? 'even' : 'odd'],
      };
      void db.put(`sensor/${record.uuid}`, record);
    }
  });
  await db.close();
}

const control = await shared(async () => {
  const dir = tempDir('many');
  await populate(join(dir, 'data'));
  return Controlled.start({ dir });
});
const person = await shared(() => Person.start(control.url));

describe('ten thousand sensors', { skip: skipWithoutBrowser() }, () => {
  const rows = () => person.page.locator('tbody tr').count();
  const scrollTo = (top: number) =>
    person.page.evaluate(`document.querySelector('.virtual').scrollTop = ${top}`);

  test('the table scrolls to any of them, and holds only those in sight', async () => {
    await person.login(control.admin);
    await person.show('/sensors', 'Sensors');
    await person.sees('10,000 sensors');
    await person.sees('sensor-00000');
    assert.ok((await rows()) < ROWS_MAX);
    await scrollTo(44 * 5_000);
    await person.sees('sensor-05003');
    await scrollTo(1e9);
    await person.sees('sensor-09999');
    assert.ok((await rows()) < ROWS_MAX);
    assert.equal(await person.page.getByText('sensor-00000').count(), 0);
    await person.checkAccess('at the end of the table');
  });

  test('it is searched as one types, from the keyboard', async () => {
    const { page } = person;
    await page.keyboard.press('/');
    await page.keyboard.type('sensor-0123');
    await person.sees('10 sensors fit');
    await person.sees('sensor-01239');
    assert.match(page.url(), /q=sensor-0123/);
    await page.keyboard.press('Control+A');
    await page.keyboard.type('no such');
    await person.sees('No sensor fits.');
    await page.getByRole('link', { name: 'Show all' }).click();
    await person.sees('10,000 sensors');
    assert.equal(await page.getByRole('searchbox').inputValue(), '', 'the field says so too');
  });

  test('it is filtered by state, group and type, and sorted', async () => {
    const { page } = person;
    await page.getByLabel('State', { exact: true }).selectOption('pending');
    await person.sees('100 sensors fit');
    await page.getByLabel('Group', { exact: true }).selectOption('odd');
    await person.sees('No sensor fits.');
    await page.getByLabel('Group', { exact: true }).selectOption('even');
    await person.sees('100 sensors fit');
    await page.getByRole('button', { name: 'Name' }).click();
    await person.sees('sensor-09900');
    await page.reload();
    await person.sees('sensor-09900');
    await person.sees('100 sensors fit');
    assert.equal(await page.locator('th[aria-sort="descending"]').textContent(), 'Name');
    await page.getByLabel('Type', { exact: true }).selectOption('8');
    await person.sees('No sensor fits.');
    await page.goBack();
  });

  test('one is opened from it, on a phone', async () => {
    const { page } = person;
    await page.setViewportSize(PHONE);
    await person.show('/sensors?q=sensor-04321', 'Sensors');
    await page.getByRole('link', { name: 'sensor-04321' }).click();
    await page.getByRole('heading', { level: 1, name: 'sensor-04321' }).waitFor();
    await page.goBack();
    await person.sees('1 sensor fits');
    await page.getByRole('button', { name: 'Menu' }).click();
    await page.getByRole('link', { name: 'Blocks' }).click();
    await page.getByRole('heading', { level: 1, name: 'Blocks' }).waitFor();
    assert.deepEqual(person.complaints, []);
    assert.equal(await control.gateway.stop(), 0);
  });
});
