/**
 * The text for node:test's `skip` option when something that a test needs is absent, false when it
 * is there. In CI (`CI=true`) nothing may be skipped, so an absence throws.
 */
export function skipUnless(present: boolean, missing: string): string | false {
  if (present) return false;
  if (process.env.CI === 'true') throw new Error(`${missing}; in CI every test must run`);
  return missing;
}
