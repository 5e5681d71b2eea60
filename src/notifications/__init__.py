"""Messages to people: stored on disk, then delivered by a separate thread to Discord or any Apprise service."""
