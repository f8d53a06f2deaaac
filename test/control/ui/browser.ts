import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after } from 'node:test';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { findTool, requireTool } from '../../support/tools.js';

const WAIT_MS = 20_000;
export const DESKTOP = { width: 1440, height: 900 };
export const PHONE = { width: 375, height: 812 };
/** Where the pictures of the README are put; without it none is made. */
const SCREENSHOTS = process.env.D4GW_SCREENSHOTS;
const PICTURES = [
  ...['login', 'overview', 'sensors', 'sensor', 'pending', 'add', 'relays', 'blocks', 'rejects'],
  ...['alerts', 'audit', 'settings', 'added'],
].map((name) => `${name} desktop light`);
PICTURES.push('overview desktop dark', 'sensor desktop dark', 'overview phone light');

/** `skip` option of the tests that look at the page. */
export const skipWithoutBrowser = (): string | false => requireTool('chromium');

/** What the tests of a file share, made before them; nothing where they are skipped. */
export async function shared<T>(make: () => Promise<T>): Promise<T> {
  return skipWithoutBrowser() === false ? await make() : (undefined as T);
}

let running: Promise<Browser> | undefined;

/** One browser for all tests of a file. */
async function browser(): Promise<Browser> {
  running ??= chromium.launch({
    executablePath: findTool('chromium')!,
    args: [
      // Containers often have 64 MiB of it.
      '--disable-dev-shm-usage',
      // Chromium's own sandbox wants a user that is not root.
      ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
    ],
    timeout: 30_000,
  });
  return running;
}
after(async () => {
  await (await running)?.close();
});

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

interface Violation {
  id: string;
  impact: string | null;
  nodes: { html: string; failureSummary: string }[];
}

/** A person's browser: its own cookies, and all that its console said against the page. */
export class Person {
  readonly context: BrowserContext;
  readonly page: Page;
  readonly url: string;
  /** Errors of scripts, of the policy, of what could not be loaded. */
  readonly complaints: string[] = [];

  static async start(url: string, options: { viewport?: typeof DESKTOP } = {}): Promise<Person> {
    const context = await (await browser()).newContext({
      viewport: options.viewport ?? DESKTOP,
      colorScheme: 'light',
      reducedMotion: 'reduce',
      acceptDownloads: true,
      // Of the gateway's own certificate.
      ignoreHTTPSErrors: true,
      // The page's own policy is held: scripts of tests are run beside it, not in it.
      bypassCSP: false,
    });
    context.setDefaultTimeout(WAIT_MS);
    after(() => context.close());
    return new Person(context, await context.newPage(), url);
  }

  private constructor(context: BrowserContext, page: Page, url: string) {
    this.context = context;
    this.page = page;
    this.url = url;
    page.on('pageerror', (error) => this.complaints.push(error.stack ?? error.message));
    page.on('console', (message) => {
      // Refused calls and lost connections are said by the browser itself, whatever the page does.
      const isNetwork = /Failed to load resource|WebSocket connection/.test(message.text());
      if (message.type() === 'error' && !isNetwork) this.complaints.push(message.text());
    });
  }

  async login(token: string): Promise<void> {
    await this.page.goto(this.url);
    await this.page.getByLabel('Access token').fill(token);
    await this.page.getByRole('button', { name: 'Log in' }).click();
    await this.page.getByRole('navigation').waitFor({ state: 'attached' });
  }

  /** Shows a view, and waits for its heading. */
  async show(path: string, heading: string | RegExp): Promise<void> {
    await this.page.goto(this.url + path);
    await this.page.getByRole('heading', { level: 1, name: heading }).waitFor();
  }

  /** Waits until a text is there to be seen. */
  async sees(text: string | RegExp): Promise<void> {
    await this.page.getByText(text).filter({ visible: true }).first().waitFor();
  }

  /**
   * Looks at a view in light and dark: it must be usable by everybody, and no wider than the window.
   */
  async look(name: string, viewports: readonly (typeof DESKTOP)[]): Promise<void> {
    const { page } = this;
    for (const viewport of viewports) {
      await page.setViewportSize(viewport);
      const device = viewport === PHONE ? 'phone' : 'desktop';
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.emulateMedia({ colorScheme });
        await this.checkAccess(`${name}, ${device}, ${colorScheme}`);
        await this.#picture(name, device, colorScheme);
      }
      assert.equal(await this.#overflow(), 0, `${name}: nothing reaches beyond a ${device}`);
    }
    await page.setViewportSize(DESKTOP);
    await page.emulateMedia({ colorScheme: 'light' });
  }

  /** Fails where axe-core finds anything. */
  async checkAccess(what: string): Promise<void> {
    await this.page.evaluate(`${AXE}; undefined`);
    const violations = (await this.page.evaluate(
      `axe.run(document, { resultTypes: ['violations'] }).then((found) => found.violations)`,
    )) as Violation[];
    const texts = violations.map(({ id, impact, nodes }) => {
      const { html, failureSummary } = nodes[0]!;
      return `${id}, ${impact} (${nodes.length}): ${html}\n${failureSummary}`;
    });
    assert.deepEqual(texts, [], what);
  }

  /** How far the page reaches beyond the window, to the right. */
  async #overflow(): Promise<number> {
    return (await this.page.evaluate(
      'document.documentElement.scrollWidth - document.documentElement.clientWidth',
    )) as number;
  }

  async #picture(name: string, device: string, colorScheme: string): Promise<void> {
    const picture = PICTURES.find((one) => one === `${name} ${device} ${colorScheme}`);
    if (SCREENSHOTS === undefined || picture === undefined) return;
    mkdirSync(SCREENSHOTS, { recursive: true });
    const path = join(SCREENSHOTS, `${picture.replaceAll(' ', '-')}.png`);
    await this.page.screenshot({ path });
  }
}
