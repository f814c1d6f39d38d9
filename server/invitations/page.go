package invitations

import (
	"bytes"
	"cmp"
	"embed"
	"errors"
	"html/template"
	"net/http"

	"connectrpc.com/connect"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/ratelimit"
	"github.com/usher-meet/usher/server/web/i18n"
	"github.com/usher-meet/usher/server/web/style"
)

const (
	// pagePath is where links are, and stopPath where mail is ended.
	pagePath, stopPath = "/i/", "/-/mail/stop/"
	// maxForm is how large a form may be: no field is longer than a word.
	maxForm = 4 << 10
)

var (
	//go:embed translations/*.json
	translations embed.FS
	//go:embed templates/page.html
	pageText string
	//go:embed templates/page.css
	pageStyle string

	sentences    = i18n.Load(translations, "translations")
	pageTemplate = template.Must(template.New("page").Parse(pageText))
)

// Mount adds the pages of links and of ending mail. GET changes nothing: what a mail scanner opens is only looked at.
func (s *Service) Mount(mux *http.ServeMux) {
	mux.HandleFunc("GET "+pagePath+"{token}", s.showPage)
	mux.HandleFunc("POST "+pagePath+"{token}", s.postPage)
	mux.HandleFunc("GET "+stopPath+"{token}", s.showStop)
	mux.HandleFunc("POST "+stopPath+"{token}", s.postStop)
}

// pageData holds the texts of page.html.
type pageData struct {
	Language, Title, Notice string
	Text                    []string
	Quote                   string
	Facts                   []pageFact
	Join, Ask, Stop         string
	Answers                 []pageAnswer
	Brand, Support          string
	Terms, TermsText        string
	Privacy, PrivacyText    string
	Style                   template.CSS
	Mark                    template.HTML
	// Logo is true when the service has a logo of its own, which this page does not load: ours would be wrong.
	Logo bool
}

type pageFact struct {
	Label string
	Lines []pageLine
}

type pageLine struct {
	Text string
	Link template.URL
}

type pageAnswer struct {
	Value, Text string
	Chosen      bool
}

// answers are the values of the form.
var answers = []struct {
	value string
	is    usherv1.Attendance
}{
	{"yes", usherv1.Attendance_ATTENDANCE_YES},
	{"no", usherv1.Attendance_ATTENDANCE_NO},
	{"maybe", usherv1.Attendance_ATTENDANCE_MAYBE},
}

func (s *Service) showPage(w http.ResponseWriter, r *http.Request) {
	l, ok := s.openLink(w, r)
	if !ok {
		return
	}
	data, localizer := s.invitationPage(r, l)
	if r.URL.Query().Get("answered") == "1" {
		data.Notice = localizer.Text("page.answered")
	}
	s.render(w, r, http.StatusOK, data, localizer)
}

// postPage joins or answers. Joining goes on in the web app, which gets the token in the part of the address that browsers
// keep to themselves.
func (s *Service) postPage(w http.ResponseWriter, r *http.Request) {
	l, ok := s.openLink(w, r)
	if !ok {
		return
	}
	token := r.PathValue("token")
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if r.PostFormValue("action") == "join" {
		seeOther(w, r, s.PublicURL+"/"+l.room.Slug+"#invitation="+token)
		return
	}
	for _, a := range answers {
		if r.PostFormValue("response") != a.value {
			continue
		}
		if err := s.respond(r.Context(), token, a.is); err != nil {
			s.fail(w, r, err)
			return
		}
		seeOther(w, r, s.PublicURL+pagePath+token+"?answered=1")
		return
	}
	data, localizer := s.invitationPage(r, l)
	s.render(w, r, http.StatusBadRequest, data, localizer)
}

// openLink finds the invitation of the address, or answers why not. Whoever opens many links that are none is refused for a
// while, as they are by the API.
func (s *Service) openLink(w http.ResponseWriter, r *http.Request) (*linked, bool) {
	call := ratelimit.Call{Limit: s.NotFoundLimit, Key: s.Visitors.LimitKey(r), Peek: true}
	err := s.Limiter.Allow(r.Context(), call)
	var l *linked
	if err == nil {
		l, err = s.byToken(r.Context(), r.PathValue("token"))
	}
	if err == nil {
		return l, true
	}
	if errors.Is(err, ErrNotFound) {
		call.Peek, call.Force = false, true
		_ = s.Limiter.Allow(r.Context(), call) // the answer is sent all the same
	}
	s.fail(w, r, err)
	return nil, false
}

// fail says what is wrong with a link, and nothing about what it was for.
func (s *Service) fail(w http.ResponseWriter, r *http.Request, err error) {
	localizer := s.localizer(r, nil, nil)
	status, what := http.StatusInternalServerError, "failed"
	switch {
	case errors.Is(err, ErrNotFound):
		status, what = http.StatusNotFound, "gone"
	case errors.Is(err, ErrRevoked):
		status, what = http.StatusGone, "revoked"
	case errors.Is(err, ErrExpired):
		status, what = http.StatusGone, "expired"
	case errors.Is(err, ratelimit.ErrLimited):
		status, what = http.StatusTooManyRequests, "busy"
		w.Header().Set("Retry-After", "60")
	case fault.Connect(err).Code() == connect.CodeUnavailable:
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	default:
		s.Log.ErrorContext(r.Context(), "page of an invitation failed", "err", err)
	}
	data := pageData{Title: localizer.Text(what + ".title"), Text: []string{localizer.Text(what + ".text")}}
	s.render(w, r, status, data, localizer)
}

// localizer writes in the language of the invitation if it has one, else in that of the browser.
func (s *Service) localizer(r *http.Request, i *ent.Invitation, data map[string]any) *i18n.Localizer {
	wanted := i18n.Accepted(r.Header.Get("Accept-Language"))
	if i != nil && i.Language != "" {
		wanted = append([]string{i.Language}, wanted...)
	}
	if data == nil {
		data = map[string]any{}
	}
	data["Brand"] = s.brand()
	return sentences.Localizer(i18n.Match(s.Languages, wanted...), data)
}

func (s *Service) brand() string { return cmp.Or(s.Branding.GetName(), "Usher") }

// invitationPage holds the facts of an invitation on its page.
func (s *Service) invitationPage(r *http.Request, l *linked) (pageData, *i18n.Localizer) {
	i := l.invitation
	inviter := inviterName(i)
	localizer := s.localizer(r, i, map[string]any{"Room": l.room.Name, "Inviter": inviter})
	data := pageData{
		Title: localizer.Text("page.title"), Quote: i.Message, Join: localizer.Text("page.join"), Ask: localizer.Text("page.ask"),
	}
	intro := "page.invites"
	if inviter == "" {
		intro = "page.invited"
	}
	data.Text = []string{localizer.Text(intro)}
	at := storedSchedule(i)
	if !at.none() {
		data.Facts = append(data.Facts, whenFact(localizer, at))
	}
	if len(at.starts) > 1 {
		data.Text = append(data.Text, localizer.Text("page.repeats"))
	}
	data.Facts = append(data.Facts, phoneFacts(localizer, s.phones(r.Context(), l.room))...)
	waiting := "page.lobby"
	switch {
	case i.SkipLobby && at.none():
		waiting = "page.direct.any"
	case i.SkipLobby:
		waiting = "page.direct"
	}
	if i.SkipLobby || l.room.AccessLevel == usherv1.AccessLevel_ACCESS_LEVEL_RESTRICTED {
		data.Text = append(data.Text, localizer.Text(waiting))
	}
	data.Text = append(data.Text, localizer.Text("page.personal"))
	for _, a := range answers {
		data.Answers = append(data.Answers, pageAnswer{a.value, localizer.Text("page." + a.value), i.Response == a.is})
	}
	return data, localizer
}

// whenFact is the occurrence that goes on or comes next, in the zone of the meeting: that of the reader is not known.
func whenFact(localizer *i18n.Localizer, at schedule) pageFact {
	label := "page.when"
	if len(at.starts) > 1 {
		label = "page.next"
	}
	start, end := at.current(now())
	zone := i18n.Zone(at.timezone)
	return pageFact{localizer.Text(label), []pageLine{{Text: localizer.Span(start.In(zone), end.In(zone))}}}
}

func phoneFacts(localizer *i18n.Localizer, d *usherv1.DialIn) []pageFact {
	if len(d.GetNumbers()) == 0 {
		return nil
	}
	numbers := pageFact{Label: localizer.Text("page.phone")}
	for _, n := range d.GetNumbers() {
		numbers.Lines = append(numbers.Lines, pageLine{
			Text: cmp.Or(n.GetDisplay(), n.GetE164()),
			Link: template.URL("tel:" + n.GetE164()), //nolint:gosec // the operator's own number, in E.164
		})
	}
	return []pageFact{numbers, {localizer.Text("page.pin"), []pageLine{{Text: cmp.Or(d.GetPinDisplay(), d.GetPin())}}}}
}

// render shows a page that runs no scripts, loads nothing, cannot be framed, is not kept or found by search engines, and
// tells nobody its address.
func (s *Service) render(w http.ResponseWriter, r *http.Request, status int, data pageData, localizer *i18n.Localizer) {
	b := s.Branding
	data.Language, data.Brand, data.Support = localizer.Language, s.brand(), b.GetSupportEmail()
	data.Terms, data.Privacy = b.GetTermsUrl(), b.GetPrivacyUrl()
	data.TermsText, data.PrivacyText = localizer.Text("footer.terms"), localizer.Text("footer.privacy")
	look := style.With(pageStyle, b.GetPrimaryColor())
	data.Style, data.Mark, data.Logo = look.CSS, style.Mark, b.GetLogoUrl() != ""
	var page bytes.Buffer
	err := errors.Join(localizer.Err(), pageTemplate.Execute(&page, data))
	if err != nil {
		s.Log.ErrorContext(r.Context(), "page of an invitation failed", "err", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	private(w.Header(), look.Source)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Language", localizer.Language)
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes()) // the reader may have gone
}

func private(h http.Header, style string) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src "+style+
		"; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Robots-Tag", "noindex, nofollow")
	h.Set("X-Content-Type-Options", "nosniff")
}

func seeOther(w http.ResponseWriter, r *http.Request, address string) {
	private(w.Header(), "'none'")
	http.Redirect(w, r, address, http.StatusSeeOther) //nolint:gosec // our own address
}
