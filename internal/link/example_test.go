package link_test

import (
	"fmt"
	"time"

	"github.com/xmppbench/xmppbench/internal/link"
)

// A ping that is answered in the middle of a large transfer comes when the transfer has passed.
func ExampleOracle() {
	down := link.Oracle{Rate: 10_000_000, Delay: 25 * time.Millisecond}
	_, roster := down.Send(0, 1_000_000)
	_, answer := down.Send(100*time.Millisecond, 125)
	fmt.Println("roster:", roster)
	fmt.Println("answer:", answer)
	// Output:
	// roster: 825ms
	// answer: 825.1ms
}
