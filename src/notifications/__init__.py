"""Messages to people: kept on disk, then delivered by a thread of their own to Discord or whatever Apprise knows."""
