import { type KeyboardEvent, type ReactNode, useEffect, useId, useRef, useState } from "react";

export interface MenuItem {
  label: string;
  run: () => void;
  danger?: boolean;
  /** For choices: whether it is the one that holds. */
  checked?: boolean;
}

/** A button with a menu. Arrow keys move in it, Escape closes it, and the focus returns to the button. */
export function Menu({
  label,
  className = "icon-button",
  items,
  children,
}: {
  label: string;
  className?: string;
  items: (MenuItem | "separator")[];
  children: ReactNode;
}) {
  const id = useId();
  const [place, setPlace] = useState<{ left: number; top: number; up: boolean } | undefined>();
  const button = useRef<HTMLButtonElement>(null);
  const list = useRef<HTMLDivElement>(null);

  useEffect(() => {
    if (!place) return;
    list.current?.querySelector<HTMLElement>("[role^=menuitem]")?.focus();
    const close = (event: Event) => {
      if (event.type === "resize" || !list.current?.contains(event.target as Node)) setPlace(undefined);
    };
    document.addEventListener("pointerdown", close, true);
    addEventListener("resize", close);
    return () => {
      document.removeEventListener("pointerdown", close, true);
      removeEventListener("resize", close);
    };
  }, [place]);

  const open = () => {
    const box = button.current?.getBoundingClientRect();
    if (!box) return;
    const up = box.bottom + 320 > innerHeight && box.top > innerHeight - box.bottom;
    setPlace({
      left: Math.max(8, Math.min(box.right - 256, innerWidth - 264)),
      top: up ? innerHeight - box.top + 6 : box.bottom + 6,
      up,
    });
  };
  const close = () => {
    setPlace(undefined);
    button.current?.focus();
  };
  const move = (event: KeyboardEvent) => {
    const all = [...(list.current?.querySelectorAll<HTMLElement>("[role^=menuitem]") ?? [])];
    const at = all.indexOf(document.activeElement as HTMLElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      all.at(to % all.length)?.focus();
    } else if (event.key === "Escape" || event.key === "Tab") {
      event.preventDefault();
      event.stopPropagation();
      close();
    }
  };
  return (
    <>
      <button
        ref={button}
        type="button"
        className={className}
        aria-label={label}
        title={label}
        aria-haspopup="menu"
        aria-expanded={place !== undefined}
        aria-controls={place ? id : undefined}
        onClick={() => (place ? close() : open())}
      >
        {children}
      </button>
      {place && (
        <div
          ref={list}
          id={id}
          className="menu"
          role="menu"
          tabIndex={-1}
          aria-label={label}
          style={{ left: place.left, [place.up ? "bottom" : "top"]: place.top }}
          onKeyDown={move}
        >
          {items.map((item, at) =>
            item === "separator" ? (
              // biome-ignore lint/suspicious/noArrayIndexKey: a separator has nothing else
              <hr key={at} />
            ) : (
              <button
                key={item.label}
                type="button"
                {...(item.checked === undefined
                  ? { role: "menuitem" }
                  : { role: "menuitemradio", "aria-checked": item.checked })}
                tabIndex={-1}
                className={item.danger ? "danger" : undefined}
                onClick={() => {
                  close();
                  item.run();
                }}
              >
                {item.label}
              </button>
            ),
          )}
        </div>
      )}
    </>
  );
}
