import { signal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { reasonOf } from '../data/api.js';
import { notify } from '../data/notices.js';
import { Button } from './basics.js';

interface DialogProps {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
}

/** A modal dialog: the browser keeps the focus in it, and gives it back. */
export function Dialog({ title, onClose, children }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null);
  const isGone = useRef(false);
  const id = useId();
  useEffect(() => {
    const dialog = ref.current;
    const before = document.activeElement;
    dialog?.showModal();
    return () => {
      // Its event comes when another dialog may have taken its place.
      isGone.current = true;
      dialog?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  const closed = () => {
    if (!isGone.current) onClose();
  };
  return (
    <dialog ref={ref} aria-labelledby={id} onClose={closed}>
      <h2 id={id}>{title}</h2>
      {children}
    </dialog>
  );
}

export interface FormDialogProps {
  title: string;
  /** What the button says that does it. */
  action: string;
  danger?: boolean;
  /** Does it; the dialog closes when it is done, and says why where it is not. */
  run: () => Promise<unknown>;
  onClose: () => void;
  /** Something else takes its place when it is done. */
  goesOn?: boolean;
  children: ComponentChildren;
}

/** A dialog that does something when it is sent. */
export function FormDialog(props: FormDialogProps) {
  const { title, action, danger = false, run, onClose, goesOn = false, children } = props;
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState('');
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError('');
    try {
      await run();
      if (!goesOn) onClose();
    } catch (reason) {
      setError(reasonOf(reason));
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <form onSubmit={submit}>
        {children}
        {error !== '' && (
          <p class="form-error" role="alert">
            {error}
          </p>
        )}
        <div class="dialog-actions">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" kind={danger ? 'danger' : 'primary'} disabled={busy}>
            {action}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

interface Question {
  title: string;
  text: ComponentChildren;
  action: string;
  danger?: boolean;
  run: () => Promise<unknown>;
  /** What is said when it is done. */
  done: string;
}

const question = signal<Question | undefined>(undefined);

/** Asks before something is done. */
export function ask(asked: Question): void {
  question.value = asked;
}

/** Does something at once, and says how it went. @returns whether it was done */
export async function act(run: () => Promise<unknown>, done: string): Promise<boolean> {
  try {
    await run();
    notify('done', done);
    return true;
  } catch (error) {
    notify('failed', reasonOf(error));
    return false;
  }
}

/** Where questions are shown: once in the page. */
export function Questions() {
  const asked = question.value;
  if (!asked) return null;
  const { title, text, action, danger, run, done } = asked;
  return (
    <FormDialog
      title={title}
      action={action}
      danger={danger ?? false}
      run={async () => {
        await run();
        notify('done', done);
      }}
      onClose={() => {
        if (question.value === asked) question.value = undefined;
      }}
    >
      <div class="dialog-text">{text}</div>
    </FormDialog>
  );
}
