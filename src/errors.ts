/**
 * One family of errors with stable codes. A `UsageError` ends a command with exit code 2, every
 * other `GatewayError` with 1; both print their message alone, without a stack. A message names
 * the thing, the value and the mend.
 */
export type GatewayErrorCode =
  | 'D4GW_E_USAGE'
  | 'D4GW_E_CONFIG'
  | 'D4GW_E_LISTEN'
  | 'D4GW_E_CERTIFICATE'
  | 'D4GW_E_DATA_DIR'
  | 'D4GW_E_LOCKED'
  | 'D4GW_E_REGISTRY'
  | 'D4GW_E_SENSOR'
  | 'D4GW_E_CLIENT'
  | 'D4GW_E_DECODE'
  | 'D4GW_E_LEDGER'
  | 'D4GW_E_LINK'
  | 'D4GW_E_SINK'
  | 'D4GW_E_CONTROL'
  | 'D4GW_E_AUDIT'
  | 'D4GW_E_SPOOL'
  | 'D4GW_E_WASM';

export class GatewayError extends Error {
  readonly code: GatewayErrorCode;
  /** Exit code of the program when this error ends it. */
  readonly exitCode: number;

  constructor(code: GatewayErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'GatewayError';
    this.code = code;
    this.exitCode = code === 'D4GW_E_USAGE' || code === 'D4GW_E_CONFIG' ? 2 : 1;
  }
}

/** The message of anything thrown, for a log line or a wrapped error. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
