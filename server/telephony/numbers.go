package telephony

import (
	"fmt"
	"strings"

	"github.com/nyaruka/phonenumbers"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
)

// ParseNumber reads a telephone number with its country's code and returns it in E.164 form, such as "+33123456789".
func ParseNumber(text string) (string, error) {
	n, err := phonenumbers.Parse(text, "")
	if err != nil || !phonenumbers.IsValidNumber(n) {
		return "", fmt.Errorf("%q is not a telephone number such as +33123456789", text)
	}
	return phonenumbers.Format(n, phonenumbers.E164), nil
}

// numberView is a number in E.164 form as people read it, as in its own country or in international form.
func numberView(e164 string, national bool) *usherv1.DialInNumber {
	v := &usherv1.DialInNumber{E164: e164, Display: e164}
	n, err := phonenumbers.Parse(e164, "")
	if err != nil {
		return v
	}
	form := phonenumbers.INTERNATIONAL
	if national {
		form = phonenumbers.NATIONAL
	}
	v.Display = phonenumbers.Format(n, form)
	// What belongs to no country, such as a satellite's, has the region "001" or "ZZ".
	if region := phonenumbers.GetRegionCodeForNumber(n); len(region) == 2 && region != "ZZ" {
		v.Country = region
	}
	return v
}

// displayPIN groups the digits of a PIN by three, the last group by four rather than by one, and ends it as it is typed.
func displayPIN(pin string) string {
	var groups []string
	for len(pin) > 4 {
		groups, pin = append(groups, pin[:3]), pin[3:]
	}
	return strings.Join(append(groups, pin), " ") + "#"
}
