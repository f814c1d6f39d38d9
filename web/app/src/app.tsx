import { ConfigService } from "@usher-meet/client";
import { useQuery } from "@usher-meet/client/react";
import { lazy, Suspense, useEffect, useState } from "react";
import { Route, Switch } from "wouter";
import { Home } from "./pages/home.tsx";
import { NotFound } from "./pages/not-found.tsx";
import { RoomPage } from "./pages/room.tsx";
import { useMe } from "./session.ts";
import { languageChosen, languageOf, useLanguage } from "./texts/index.tsx";
import { applyBrand } from "./theme.ts";
import { ErrorNotice, Loading, ToastProvider } from "./ui/feedback.tsx";

const RoomSettings = lazy(async () => ({ default: (await import("./pages/room-settings.tsx")).RoomSettings }));
const RecordingPage = lazy(async () => ({ default: (await import("./pages/recording.tsx")).RecordingPage }));
const Profile = lazy(async () => ({ default: (await import("./pages/profile.tsx")).Profile }));

/** Every page, by its address. All of them know the configuration of the instance. */
export function App() {
  const config = useQuery(ConfigService.method.getConfig, {}, { staleTime: Number.POSITIVE_INFINITY });
  const color = config.data?.config?.branding?.primaryColor;
  useEffect(() => applyBrand(color ?? ""), [color]);
  if (config.error) {
    return (
      <main className="page narrow">
        <ErrorNotice error={config.error} retry={() => config.refetch()} />
      </main>
    );
  }
  if (!config.data) return <Loading />;
  return (
    <ToastProvider>
      <AccountLanguage />
      <Suspense fallback={<Loading />}>
        <Switch>
          <Route path="/" component={Home} />
          <Route path="/-/profile" component={Profile} />
          <Route path="/recording/:id">{({ id }) => <RecordingPage key={id} id={id} />}</Route>
          <Route path="/-/rooms/:room">{({ room }) => <RoomSettings key={room} room={room} />}</Route>
          <Route path="/:room">{({ room }) => <RoomPage key={room} room={room} />}</Route>
          <Route component={NotFound} />
        </Switch>
      </Suspense>
    </ToastProvider>
  );
}

/** Speaks the language of the account, unless another one was chosen in this browser. */
function AccountLanguage() {
  const me = useMe();
  const { language, speak } = useLanguage();
  const [chosen] = useState(languageChosen);
  const wanted = languageOf(me?.language ?? "");
  useEffect(() => {
    if (!chosen && wanted && wanted !== language) void speak(wanted);
  }, [chosen, wanted, language, speak]);
  return null;
}
