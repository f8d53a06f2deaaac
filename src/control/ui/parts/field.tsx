import type { ComponentChildren } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';

interface Common {
  label: string;
  /** What it is for, where the label is not enough. */
  hint?: ComponentChildren;
  error?: string | undefined;
}

interface InputProps extends Common {
  value: string;
  onText: (value: string) => void;
  type?: 'text' | 'password' | 'number' | 'search';
  name?: string;
  autocomplete?: 'off' | 'current-password';
  placeholder?: string;
  required?: boolean;
  maxLength?: number;
  min?: number;
  max?: number;
}

/** A labelled text field. */
export function Field({ label, hint, error, onText, ...rest }: InputProps) {
  const id = useId();
  // The types of elements know no input whose kind is not fixed.
  const own: object = rest;
  return (
    <Labelled {...{ id, label, hint, error }}>
      <input
        {...own}
        id={id}
        spellcheck={false}
        aria-describedby={`${id}-hint`}
        aria-invalid={error !== undefined}
        onInput={({ currentTarget }) => onText(currentTarget.value)}
      />
    </Labelled>
  );
}

interface AreaProps extends Common {
  value: string;
  onText: (value: string) => void;
  maxLength?: number;
  rows?: number;
}

export function Area({ label, hint, error, onText, ...rest }: AreaProps) {
  const id = useId();
  const own: object = rest;
  return (
    <Labelled {...{ id, label, hint, error }}>
      <textarea
        {...own}
        id={id}
        aria-describedby={`${id}-hint`}
        aria-invalid={error !== undefined}
        onInput={({ currentTarget }) => onText(currentTarget.value)}
      />
    </Labelled>
  );
}

type ChoiceProps = Common & {
  value: string;
  options: readonly (readonly [value: string, text: string])[];
  onText: (value: string) => void;
};

export function Choice({ label, hint, error, value, options, onText }: ChoiceProps) {
  const id = useId();
  return (
    <Labelled {...{ id, label, hint, error }}>
      <select
        id={id}
        aria-describedby={`${id}-hint`}
        value={value}
        onChange={({ currentTarget }) => onText(currentTarget.value)}
      >
        {options.map(([own, text]) => (
          <option key={own} value={own} selected={own === value}>
            {text}
          </option>
        ))}
      </select>
    </Labelled>
  );
}

function Labelled(props: {
  id: string;
  label: string;
  hint?: ComponentChildren;
  error?: string | undefined;
  children: ComponentChildren;
}) {
  const { id, label, hint, error, children } = props;
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children}
      <p id={`${id}-hint`} class={error === undefined ? 'hint' : 'hint crit-text'}>
        {error ?? hint}
      </p>
    </div>
  );
}

/**
 * What is typed, told once typing pauses. What the page itself sets meanwhile, such as by a link,
 * shows in the field.
 */
export function useTyped(
  value: string,
  pauseMs: number,
  onText: (text: string) => void,
): [typed: string, type: (text: string) => void] {
  const [typed, setTyped] = useState(value);
  const timer = useRef<number | undefined>(undefined);
  useEffect(() => {
    setTyped((before) => (before.trim() === value ? before : value));
    return () => clearTimeout(timer.current);
  }, [value]);
  const type = (text: string) => {
    setTyped(text);
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => onText(text.trim()), pauseMs);
  };
  return [typed, type];
}

/** A field of a toolbar: its label is there for those who cannot see where it stands. */
export function Search(props: {
  label: string;
  value: string;
  onText: (value: string) => void;
  hotkey?: boolean;
}) {
  return (
    <input
      type="search"
      class="search"
      aria-label={props.label}
      placeholder={props.label}
      value={props.value}
      data-hotkey={props.hotkey ? '/' : undefined}
      onInput={({ currentTarget }) => props.onText(currentTarget.value)}
    />
  );
}

export function Filter(props: {
  label: string;
  value: string;
  options: readonly (readonly [value: string, text: string])[];
  onText: (value: string) => void;
}) {
  const { label, value, options, onText } = props;
  return (
    <select
      class="filter"
      aria-label={label}
      value={value}
      onChange={({ currentTarget }) => onText(currentTarget.value)}
    >
      {options.map(([own, text]) => (
        <option key={own} value={own} selected={own === value}>
          {text}
        </option>
      ))}
    </select>
  );
}

/** A choice of a few, all of them in sight. */
export function Segments(props: {
  label: string;
  value: string;
  options: readonly (readonly [value: string, text: string])[];
  onText: (value: string) => void;
}) {
  const { label, value, options, onText } = props;
  return (
    <fieldset class="segments">
      <legend class="hidden">{label}</legend>
      {options.map(([own, text]) => (
        <button key={own} type="button" aria-pressed={own === value} onClick={() => onText(own)}>
          {text}
        </button>
      ))}
    </fieldset>
  );
}
