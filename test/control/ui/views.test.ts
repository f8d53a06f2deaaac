import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { VIEWS } from '../../../src/control/pages.js';
import { DESKTOP, Person, PHONE, shared, skipWithoutBrowser } from './browser.js';
import { BLOCKED, SENDING, startScene } from './scene.js';

interface Shown {
  name: string;
  path: string;
  heading: string | RegExp;
  /** There once the view has what it shows. */
  texts: (string | RegExp)[];
}

const SYSLOG = SENDING[5]!.uuid;
/** The overview last: by then a bit of the hour has come. */
const SHOWN: readonly Shown[] = [
  {
    name: 'sensors',
    path: '/sensors',
    heading: 'Sensors',
    texts: ['ams-blackhole-1', '13 sensors', 'sensor-blocked', 'honeypot', /\d Mbps/],
  },
  {
    name: 'sensor',
    path: `/sensors/${SYSLOG}`,
    heading: 'lux-syslog',
    texts: ['bad-hmac', SYSLOG, 'session open since', 'being written', 'in balance', /\d kbps/],
  },
  {
    name: 'pending',
    path: '/pending',
    heading: 'Pending',
    texts: ['Registered over the API, number 3', 'owner1@example.net', 'sensor-pending'],
  },
  { name: 'add', path: '/add', heading: 'Add a sensor', texts: ['By which you find it'] },
  {
    name: 'relays',
    path: '/relays',
    heading: 'Relays and spools',
    texts: ['away, spooling', /of 64\.0 MiB/, 'Open files', /ECONNREFUSED|refused/],
  },
  {
    name: 'blocks',
    path: '/blocks',
    heading: 'Blocks',
    texts: ['203.0.113.0/24', '2001:db8:bad::/48', 'old-collector'],
  },
  {
    name: 'rejects',
    path: '/rejects',
    heading: 'Rejects',
    texts: ['unknown-sensor', 'old-collector', /GET \/ HTTP/, 'Compare the client’s key file'],
  },
  {
    name: 'alerts',
    path: '/alerts',
    heading: 'Alerts',
    texts: ['ber-darknet is silent', 'None is configured'],
  },
  {
    name: 'audit',
    path: '/audit',
    heading: 'Audit',
    texts: ['sensor.block', 'address.block', 'first-admin', BLOCKED],
  },
  {
    name: 'settings',
    path: '/settings',
    heading: 'Settings',
    texts: ['partner.spool.onFull', 'everything', 'its own', 'maxPayloadBytes'],
  },
  {
    name: 'overview',
    path: '/',
    heading: 'Overview',
    texts: ['8 passivedns', 'ber-darknet is silent', '3 sensors wait', 'balances', 'bad-hmac'],
  },
];

const control = await shared(startScene);
const person = await shared(() => Person.start(control.url));

describe('views', { skip: skipWithoutBrowser() }, () => {
  test('the login', async () => {
    await person.page.goto(control.url);
    await person.page.getByLabel('Access token').waitFor();
    await person.look('login', [DESKTOP]);
    await person.login(control.admin);
  });

  for (const { name, path, heading, texts } of SHOWN) {
    test(`${name}: what it shows, for everybody, in light and dark, on a phone too`, async () => {
      await person.show(path, heading);
      for (const text of texts) await person.sees(text);
      await person.look(name, [DESKTOP, PHONE]);
    });
  }

  test('a path that is none, and a sensor that is none', async () => {
    await person.show('/sensors/5e2f8b7d-0a13-4b7a-9c41-0000000009ff', 'No such sensor');
    await person.checkAccess('no such sensor');
  });

  test('nothing broke the policy, and no script failed', async () => {
    assert.deepEqual(person.complaints, []);
    assert.equal(await control.gateway.stop(), 0);
  });
});

test('each view is looked at', () => {
  const seen = SHOWN.map(({ path }) => path.split('/')[1]);
  assert.deepEqual([...new Set(seen)].sort(), [...VIEWS].sort());
});
