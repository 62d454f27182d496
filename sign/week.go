package sign

import (
	"fmt"
	"time"
)

// week is a week of ISO 8601, by the day on which it starts: midnight between
// Sunday and Monday in the Signer's time zone.
type week struct {
	start time.Time
}

func weekOf(t time.Time, loc *time.Location) week {
	t = t.In(loc)
	back := (int(t.Weekday()) + 6) % 7 // days since Monday
	return week{time.Date(t.Year(), t.Month(), t.Day()-back, 0, 0, 0, 0, loc)}
}

// add goes n weeks on, or back where n is negative. It counts days of the
// calendar, not hours: a week in which the clocks change is 167 or 169 hours long.
func (w week) add(n int) week {
	y, m, d := w.start.Date()
	return week{time.Date(y, m, d+7*n, 0, 0, 0, 0, w.start.Location())}
}

// String is the part of the key that names the week: year and week, six digits.
// The year is the ISO year, which differs from the calendar's around New Year.
func (w week) String() string {
	// Thursday decides which year a week belongs to, and no zone's midnight
	// jump reaches it.
	y, m, d := w.start.Date()
	year, n := time.Date(y, m, d+3, 12, 0, 0, 0, time.UTC).ISOWeek()
	return fmt.Sprintf("%04d%02d", year, n)
}
