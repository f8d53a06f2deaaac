/** Under TLS the browser itself holds that it is of this host alone, and sent by TLS alone. */
const nameOf = (secure: boolean) => (secure ? '__Host-d4gw' : 'd4gw');

/** The value of the session's cookie in a `Cookie` header. */
export function readCookie(header: string, secure: boolean): string | undefined {
  const wanted = `${nameOf(secure)}=`;
  return header
    .split(';')
    .map((part) => part.trim())
    .find((part) => part.startsWith(wanted))
    ?.slice(wanted.length);
}

/** A `Set-Cookie` header. @param maxAgeSeconds 0 takes the cookie away */
export function writeCookie(value: string, secure: boolean, maxAgeSeconds: number): string {
  const attributes = ['Path=/', 'HttpOnly', 'SameSite=Strict', `Max-Age=${maxAgeSeconds}`];
  if (secure) attributes.push('Secure');
  return [`${nameOf(secure)}=${value}`, ...attributes].join('; ');
}
