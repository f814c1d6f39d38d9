import { type ReactNode, useEffect, useState } from "react";
import { Link, useLocation } from "wouter";
import { signInAddress, useConfig, useMe } from "../session.ts";
import { useTexts } from "../texts/index.tsx";
import { Avatar } from "./avatar.tsx";
import { Menu } from "./menu.tsx";

/** A page with header and footer. Its title is the document's too, and is announced when the page changes. */
export function Page({ title, narrow = false, children }: { title: string; narrow?: boolean; children: ReactNode }) {
  const config = useConfig();
  const name = config.branding?.name || "Usher";
  useTitle(title);
  return (
    <div className="frame">
      <SkipLink />
      <Header />
      <main id="main" tabIndex={-1} className={narrow ? "page narrow" : "page"}>
        {children}
      </main>
      <Footer name={name} />
    </div>
  );
}

export function useTitle(title: string): void {
  const name = useConfig().branding?.name || "Usher";
  useEffect(() => {
    document.title = title === name ? name : `${title} · ${name}`;
  }, [title, name]);
}

function SkipLink() {
  const t = useTexts();
  return (
    <a className="skip" href="#main">
      {t.common.skip}
    </a>
  );
}

function Header() {
  const t = useTexts();
  const config = useConfig();
  const me = useMe();
  const [, go] = useLocation();
  const name = config.branding?.name || "Usher";
  const address = signInAddress(config);
  return (
    <header className="top">
      <Link href="/" className="brand">
        {config.branding?.logoUrl ? <img src={config.branding.logoUrl} alt="" /> : <Mark />}
        <span>{name}</span>
      </Link>
      {config.development && (
        <a className="tag" href="/-/development" title={t.common.developmentHint}>
          {t.common.development}
        </a>
      )}
      <span className="grow" />
      {me === null && address && (
        <a className="button" href={address}>
          {t.header.signIn}
        </a>
      )}
      {me && (
        <Menu
          label={t.header.account(me.fullName || me.email)}
          className="account"
          items={[
            { label: t.home.mine, run: () => go("/") },
            { label: t.header.profile, run: () => go("/-/profile") },
            "separator",
            { label: t.header.signOut, run: () => signOut(false) },
          ]}
        >
          <Avatar name={me.fullName || me.email} />
        </Menu>
      )}
    </header>
  );
}

/** Signing out is a form of its own, because it may lead to the OpenID provider. */
export function signOut(everywhere: boolean): void {
  const form = document.createElement("form");
  form.method = "post";
  form.action = everywhere ? "/auth/logout?everywhere=true" : "/auth/logout";
  document.body.append(form);
  form.submit();
}

function Footer({ name }: { name: string }) {
  const t = useTexts();
  const { branding, version } = useConfig();
  return (
    <footer className="bottom">
      <span>
        {name} {version}
      </span>
      {branding?.supportEmail && <a href={`mailto:${branding.supportEmail}`}>{t.common.help}</a>}
      {branding?.termsUrl && <a href={branding.termsUrl}>{t.common.terms}</a>}
      {branding?.privacyUrl && <a href={branding.privacyUrl}>{t.common.privacy}</a>}
      <a href="/third-party-notices.txt">{t.common.licences}</a>
    </footer>
  );
}

/** Our mark: a door that is ajar, and light behind it. */
export function Mark() {
  return (
    <svg className="mark" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="9" fill="#3d2a4f" />
      <path d="M10 24V12a6 6 0 0 1 12 0v12z" fill="#f2b84b" />
      <path d="M10 24V12a6 6 0 0 1 6-6v18z" fill="#fff6e3" />
    </svg>
  );
}

/** A page whose only content is a message and what to do. */
export function MessagePage({ title, body, children }: { title: string; body: string; children?: ReactNode }) {
  return (
    <Page title={title} narrow>
      <div className="message">
        <h1>{title}</h1>
        {body && <p>{body}</p>}
        <div className="actions">{children}</div>
      </div>
    </Page>
  );
}

/** Whether something is true for the width of the window. */
export function useMedia(query: string): boolean {
  const [matches, setMatches] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const media = matchMedia(query);
    const change = () => setMatches(media.matches);
    change();
    media.addEventListener("change", change);
    return () => media.removeEventListener("change", change);
  }, [query]);
  return matches;
}
