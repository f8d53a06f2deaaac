import { X509Certificate } from 'node:crypto';
import { z } from 'zod';
import type { ControlContext } from '../context.js';
import { json } from '../http/reply.js';
import { type Route, route } from '../route.js';
import { time } from './schemas.js';

export const certificate = z.object({
  source: z.string().describe('The listener, such as `tls [::]:4443`.'),
  notAfter: time,
  isSelfSigned: z.boolean().describe('Sensors have to be given it: no authority vouches for it.'),
  names: z.array(z.string()).describe('Host names and addresses that it is good for.'),
  pem: z.string().describe("The listener's own first."),
});

/** What the listeners show to every sensor that connects: no secret. */
export function certificateRoutes({ gateway }: ControlContext): Route[] {
  return [
    route({
      method: 'GET',
      path: '/api/v1/certificates',
      role: 'reader',
      id: 'listCertificates',
      tag: 'gateway',
      summary: 'The certificates of the listeners, for sensors to trust',
      answers: { 200: { description: 'All.', schema: z.array(certificate) } },
      handle: () =>
        json(
          200,
          gateway.certificates.flatMap(({ source, notAfter, pem }) =>
            pem === undefined ? [] : { source, notAfter, pem, ...about(pem) },
          ),
        ),
    }),
  ];
}

function about(pem: string): { isSelfSigned: boolean; names: string[] } {
  const certificate = new X509Certificate(pem);
  const names = (certificate.subjectAltName ?? '')
    .split(', ')
    .map((name) => /^(?:DNS|IP Address):(.+)$/.exec(name)?.[1])
    .filter((name) => name !== undefined);
  return { isSelfSigned: certificate.checkIssued(certificate), names };
}
