import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Person, PHONE, skipWithoutBrowser } from './browser.js';
import { startScene } from './scene.js';

const skip = skipWithoutBrowser();
const control = skip === false ? await startScene() : undefined;

/** Every view: its path, its heading, and something that is there once it has what it shows. */
const VIEWS: readonly [name: string, path: string, heading: string, text: string | RegExp][] = [
  ['overview', '/', 'Overview', 'passivedns'],
  ['sensors', '/sensors', 'Sensors', 'ams-blackhole-1'],
];

describe('views', { skip }, () => {
  for (const [name, path, heading, text] of VIEWS) {
    test(`${name}: what it shows, in light and dark, for everybody, on a phone too`, async () => {
      const { url, admin } = control!;
      const person = await Person.start(url);
      await person.login(admin);
      await person.show(path, heading);
      await person.page.getByText(text).first().waitFor();
      await person.checkAccess(`${name}, light`);
      await person.picture(name);
      await person.theme('dark');
      await person.checkAccess(`${name}, dark`);
      await person.page.setViewportSize(PHONE);
      assert.equal(await person.overflow(), 0, 'nothing reaches beyond a phone');
      await person.checkAccess(`${name}, phone`);
      person.checkComplaints();
    });
  }
});
