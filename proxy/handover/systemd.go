package handover

import (
	"fmt"
	"net"
	"os"
)

// Notify tells systemd, or who else speaks its protocol, of a state such as `READY=1` (sd_notify(3)). It does nothing where the environment
// has no NOTIFY_SOCKET.
func Notify(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	defer c.Close() //nolint:errcheck // what was written is
	if _, err := c.Write([]byte(state)); err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	return nil
}
