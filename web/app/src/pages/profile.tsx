import { useQueryClient } from "@tanstack/react-query";
import { AccessLevel, type User, UsersService } from "@usher-meet/client";
import { useMutation } from "@usher-meet/client/react";
import { useId, useState } from "react";
import { accessLevels } from "../rooms.ts";
import { meKey, signInAddress, useConfig, useMe } from "../session.ts";
import { type Language, languageOf, languages, useLanguage, useTexts } from "../texts/index.tsx";
import { applyTheme, currentTheme, themes } from "../theme.ts";
import { ErrorNotice, Loading, useToaster } from "../ui/feedback.tsx";
import { MessagePage, Page, signOut } from "../ui/page.tsx";

/** The signed-in person: how this service speaks to them, and what their rooms are like. */
export function Profile() {
  const t = useTexts();
  const me = useMe();
  const config = useConfig();
  if (me === undefined) return <Loading />;
  if (me === null) {
    return (
      <MessagePage title={t.signInNeeded.title} body={t.signInNeeded.body}>
        <a className="button primary" href={signInAddress(config)}>
          {t.header.signIn}
        </a>
      </MessagePage>
    );
  }
  return (
    <Page title={t.profile.title} narrow>
      <h1>{t.profile.title}</h1>
      <Person me={me} />
      <Preferences me={me} />
      <Appearance />
      <section className="card stack">
        <h2>{t.profile.sessions}</h2>
        <div className="row wrap">
          <button type="button" className="button" onClick={() => signOut(false)}>
            {t.header.signOut}
          </button>
          <button type="button" className="button" onClick={() => signOut(true)}>
            {t.profile.signOutEverywhere}
          </button>
        </div>
      </section>
    </Page>
  );
}

function Person({ me }: { me: User }) {
  const t = useTexts();
  return (
    <section className="card stack">
      <h2>{t.profile.you}</h2>
      <dl>
        <dt>{t.profile.name}</dt>
        <dd>{me.fullName}</dd>
        <dt>{t.profile.email}</dt>
        <dd>{me.email}</dd>
      </dl>
      <p className="muted">{t.profile.youHint}</p>
    </section>
  );
}

function Preferences({ me: stored }: { me: User }) {
  const t = useTexts();
  const id = useId();
  const config = useConfig();
  const { speak } = useLanguage();
  const { tell } = useToaster();
  const queries = useQueryClient();
  const update = useMutation(UsersService.method.updateMe);
  // Until the answer is there, what was asked for is shown.
  const me = update.isPending ? ({ ...stored, ...update.variables?.user } as User) : stored;
  const save = (user: Partial<Pick<User, "language" | "timezone" | "defaultAccessLevel">>, path: string) =>
    update.mutate(
      { user, updateMask: { paths: [path] } },
      {
        onSuccess: async (answer) => {
          queries.setQueryData(meKey, answer.user);
          const language = languageOf(answer.user?.language ?? "");
          const words = path === "language" && language ? await speak(language) : t;
          tell(words.common.saved);
        },
      },
    );
  const offered = config.languages.map(languageOf).filter((one): one is Language => one !== undefined);
  const standard = config.roomDefaults?.accessLevel ?? AccessLevel.RESTRICTED;
  const standardName = accessLevels(t).find((one) => one.level === standard)?.name ?? "";
  return (
    <section className="card stack">
      <h2>{t.profile.preferences}</h2>
      <div className="field">
        <label htmlFor={`${id}-language`}>{t.profile.language}</label>
        <select
          id={`${id}-language`}
          value={languageOf(me.language) ?? ""}
          onChange={(event) => save({ language: event.target.value }, "language")}
        >
          <option value="">{t.profile.languageStandard}</option>
          {offered.map((one) => (
            <option key={one} value={one} lang={one}>
              {languages[one]}
            </option>
          ))}
        </select>
      </div>
      <div className="field">
        <label htmlFor={`${id}-timezone`}>{t.profile.timezone}</label>
        <select
          id={`${id}-timezone`}
          value={me.timezone}
          onChange={(event) => save({ timezone: event.target.value }, "timezone")}
        >
          <option value="">UTC</option>
          {timezones(me.timezone).map((zone) => (
            <option key={zone} value={zone}>
              {zone.replaceAll("_", " ")}
            </option>
          ))}
        </select>
      </div>
      <h2>{t.profile.rooms}</h2>
      <div className="field">
        <label htmlFor={`${id}-access`}>{t.profile.defaultAccess}</label>
        <select
          id={`${id}-access`}
          value={me.defaultAccessLevel}
          onChange={(event) => save({ defaultAccessLevel: Number(event.target.value) }, "default_access_level")}
        >
          <option value={AccessLevel.UNSPECIFIED}>
            {t.profile.defaultStandard} ({standardName})
          </option>
          {accessLevels(t).map((one) => (
            <option key={one.level} value={one.level}>
              {one.name}
            </option>
          ))}
        </select>
      </div>
      <ErrorNotice error={update.error} />
    </section>
  );
}

/** The time zones that this browser knows, and the one that is set. */
function timezones(set: string): string[] {
  const all = Intl.supportedValuesOf("timeZone");
  return set === "" || all.includes(set) ? all : [set, ...all];
}

function Appearance() {
  const t = useTexts();
  const [theme, setTheme] = useState(currentTheme);
  return (
    <section className="card stack">
      <h2>{t.profile.appearance}</h2>
      <fieldset className="choices inline">
        <legend className="hidden">{t.profile.appearance}</legend>
        {themes.map((one) => (
          <label key={one} className="choice compact">
            <input
              type="radio"
              name="theme"
              checked={theme === one}
              onChange={() => {
                applyTheme(one);
                setTheme(one);
              }}
            />
            <span>{t.header.themes[one]}</span>
          </label>
        ))}
      </fieldset>
    </section>
  );
}
