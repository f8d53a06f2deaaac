import { useEffect, useRef, useState } from 'preact/hooks';
import { call, LOGIN, reasonOf } from '../data/api.js';
import { loginNotice, who } from '../data/session.js';
import type { Who } from '../data/types.js';
import { Button } from '../parts/basics.js';
import { Field } from '../parts/field.js';

export function Login() {
  const [token, setToken] = useState('');
  const [error, setError] = useState('');
  const [busy, setBusy] = useState(false);
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => {
    document.title = 'Log in · d4-gateway';
    form.current?.querySelector('input')?.focus();
  }, []);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError('');
    try {
      const found = await call<Who>('POST', LOGIN, { token });
      loginNotice.value = '';
      who.value = found;
    } catch (reason) {
      setError(reasonOf(reason));
      setBusy(false);
    }
  };
  return (
    <main class="login">
      <form class="card login-card" ref={form} onSubmit={submit}>
        <h1>d4-gateway</h1>
        {loginNotice.value !== '' && (
          <p class="banner info" role="status">
            {loginNotice.value}
          </p>
        )}
        <Field
          label="Access token"
          type="password"
          name="token"
          autocomplete="current-password"
          required
          value={token}
          onText={setToken}
          error={error === '' ? undefined : error}
          hint={
            <>
              The first admin’s is in <code>data/control/admin-token</code>, on the gateway’s
              machine. More are made with <code>d4gw token add</code>.
            </>
          }
        />
        <Button type="submit" kind="primary" disabled={busy || token.trim() === ''}>
          Log in
        </Button>
      </form>
    </main>
  );
}
