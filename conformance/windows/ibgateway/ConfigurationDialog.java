package ibgateway;

import java.awt.BorderLayout;
import javax.swing.BoxLayout;
import javax.swing.ButtonGroup;
import javax.swing.JButton;
import javax.swing.JCheckBox;
import javax.swing.JDialog;
import javax.swing.JFrame;
import javax.swing.JLabel;
import javax.swing.JPanel;
import javax.swing.JRadioButton;
import javax.swing.JTextField;
import javax.swing.JTree;
import javax.swing.tree.DefaultMutableTreeNode;

/** The configuration: a tree of sections and the controls that a controller sets, all on one page. */
final class ConfigurationDialog {
    private final JFrame owner;
    private final boolean withReadOnly;

    ConfigurationDialog(JFrame owner, boolean withReadOnly) {
        this.owner = owner;
        this.withReadOnly = withReadOnly;
    }

    void open() {
        JDialog dialog = new JDialog(owner, "DU1234567 Trader Workstation Configuration", false);
        JPanel page = new JPanel();
        page.setLayout(new BoxLayout(page, BoxLayout.Y_AXIS));
        if (withReadOnly) {
            page.add(new JCheckBox("Read-Only API", true));
        }
        page.add(new JCheckBox("Bypass Order Precautions for API Orders"));
        page.add(named("Socket port", new JTextField("4002")));
        page.add(named("Master API client ID", new JTextField("")));
        page.add(restartTime());
        JButton ok = new JButton("OK");
        ok.addActionListener(event -> dialog.dispose());
        page.add(ok);
        dialog.add(new JTree(sections()), BorderLayout.WEST);
        dialog.add(page, BorderLayout.CENTER);
        Swing.show(dialog, 50, 50);
    }

    private static DefaultMutableTreeNode sections() {
        DefaultMutableTreeNode root = new DefaultMutableTreeNode("Configuration");
        DefaultMutableTreeNode api = new DefaultMutableTreeNode("API");
        api.add(new DefaultMutableTreeNode("Settings"));
        api.add(new DefaultMutableTreeNode("Precautions"));
        root.add(api);
        root.add(new DefaultMutableTreeNode("Lock and Exit"));
        return root;
    }

    private static JPanel named(String name, JTextField field) {
        JPanel panel = new JPanel();
        panel.setName(name);
        panel.add(new JLabel(name));
        panel.add(field);
        return panel;
    }

    private static JPanel restartTime() {
        JRadioButton am = new JRadioButton("AM");
        JRadioButton pm = new JRadioButton("PM", true);
        JRadioButton logoff = new JRadioButton("Auto logoff", true);
        JRadioButton restart = new JRadioButton("Auto restart");
        group(am, pm);
        group(logoff, restart);
        JPanel time = new JPanel();
        time.add(new JLabel("Set Auto Restart Time (HH:MM)"));
        time.add(new JTextField("11:45"));
        time.add(am);
        time.add(pm);
        time.add(logoff);
        time.add(restart);
        JPanel section = new JPanel();
        section.add(time);
        return section;
    }

    private static void group(JRadioButton... buttons) {
        ButtonGroup group = new ButtonGroup();
        for (JRadioButton button : buttons) {
            group.add(button);
        }
    }
}
