package bench_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xmppbench/xmppbench/bench"
)

func TestBarrier(t *testing.T) {
	tests := []struct {
		name                       string
		want, come, lost, least    int
		opens                      time.Duration // after a second for each member
		timedOut, short, cancelled bool
		text                       string
	}{
		{name: "everybody", want: 3, come: 3, least: 3, opens: 3 * time.Second, text: "3 of 3 online after 3s"},
		{name: "nobody is wanted", opens: 0, text: "0 of 0 online after 0s"},
		{name: "one fails, and may", want: 3, come: 2, lost: 1, least: 2, opens: 3 * time.Second, text: "2 of 3 online after 3s, 1 failed"},
		{name: "one fails, and may not", want: 3, come: 2, lost: 1, least: 3, opens: 3 * time.Second, short: true, text: "2 of 3 online after 3s, 1 failed"},
		{name: "some are late", want: 10, come: 4, least: 4, opens: 8 * time.Second, timedOut: true, text: "4 of 10 online after 8s"},
		{name: "too many are late", want: 10, come: 4, lost: 1, least: 5, opens: 8 * time.Second, timedOut: true, short: true, text: "4 of 10 online after 8s, 1 failed"},
		{name: "cancelled", want: 10, come: 4, least: 4, opens: 5 * time.Second, cancelled: true, text: "4 of 10 online after 5s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				gone := errors.New("gone")
				if tt.cancelled {
					time.AfterFunc(5*time.Second, func() { cancel(gone) })
				}
				start := time.Now()
				b := bench.NewBarrier("online", tt.want)
				for i := range tt.come + tt.lost {
					time.AfterFunc(time.Duration(i+1)*time.Second, func() {
						if i < tt.come {
							b.Reach()
						} else {
							b.Lose()
						}
					})
				}
				crowd, err := b.Wait(ctx, 8*time.Second, tt.least)
				if got := time.Since(start); got != tt.opens {
					t.Errorf("opened after %s, want %s", got, tt.opens)
				}
				if crowd.String() != tt.text || crowd.TimedOut != tt.timedOut {
					t.Errorf("%q, timed out %t", crowd, crowd.TimedOut)
				}
				short, isShort := errors.AsType[*bench.BarrierError](err)
				switch {
				case isShort != tt.short, tt.cancelled != errors.Is(err, gone), !tt.short && !tt.cancelled && err != nil:
					t.Errorf("error %v", err)
				case isShort && (short.Least != tt.least || short.Crowd != crowd):
					t.Errorf("%+v", short)
				}
			})
		})
	}
}
